#include "server/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "io/file.h"

namespace nosa::server {
namespace {

// Of this process; 0 where the system does not say.
uint64_t ResidentBytes() {
  // Two numbers of pages: all, and those in memory.
  const Result<std::string> text = io::ReadTextFile("/proc/self/statm");
  if (!text.ok()) return 0;
  const size_t blank = text->find(' ');
  uint64_t pages = 0;
  if (blank == std::string::npos) return 0;
  std::from_chars(text->data() + blank + 1, text->data() + text->size(), pages);
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::string Escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text;
}

void WriteOne(MetricsText* text, std::string_view name, std::string_view type, std::string_view help, double value) {
  text->Family(name, type, help);
  text->Sample(value);
}

void WriteService(MetricsText* text, const engine::ServiceStats& stats) {
  using Pair = std::pair<std::string_view, std::string_view>;
  const auto labelled = [&](double value, std::string_view name, std::string_view label) {
    const Pair labels[] = {{name, label}};
    text->Sample(value, labels);
  };
  text->Family("nosa_requests", "gauge", "Requests to the engine by what they do now.");
  labelled(stats.queued, "state", "queued");
  labelled(stats.reading, "state", "reading");
  labelled(stats.answering, "state", "answering");
  WriteOne(text, "nosa_requests_paused", "gauge", "Requests whose readers are slow, of those reading and answering.",
           stats.paused);
  text->Family("nosa_requests_ended_total", "counter", "Requests to the engine that ended.");
  labelled(static_cast<double>(stats.finished), "how", "finished");
  labelled(static_cast<double>(stats.failed), "how", "failed");
  labelled(static_cast<double>(stats.cancelled), "how", "cancelled");
  WriteOne(text, "nosa_requests_refused_total", "counter", "Requests that the engine did not take.",
           static_cast<double>(stats.refused));
  text->Family("nosa_tokens_total", "counter", "Tokens of requests; cached ones are among those of prompts.");
  labelled(static_cast<double>(stats.prompt_tokens), "kind", "prompt");
  labelled(static_cast<double>(stats.cached_tokens), "kind", "cached");
  labelled(static_cast<double>(stats.generated_tokens), "kind", "generated");
  WriteOne(text, "nosa_generated_tokens_per_second", "gauge", "Over the last seconds.", stats.tokens_per_second);

  const kv::StoreStats& kv = stats.engine.kv;
  text->Family("nosa_kv_bytes", "gauge", "Bytes of KV held now.");
  labelled(static_cast<double>(stats.host_used_bytes), "tier", "host");
  labelled(static_cast<double>(stats.cold_bytes), "tier", "cold");
  // Without a bound there is none to tell.
  if (stats.host_budget_bytes != kv::kNoLimit) {
    WriteOne(text, "nosa_kv_host_budget_bytes", "gauge", "Bytes of KV that the host tier may hold.",
             static_cast<double>(stats.host_budget_bytes));
  }
  const kv::PrefixStats& prefix = kv.prefix;
  WriteOne(text, "nosa_prefix_lookups_total", "counter", "Prompts looked up among cached beginnings.",
           static_cast<double>(prefix.lookups));
  WriteOne(text, "nosa_prefix_hits_total", "counter", "Of these, began with a cached one.",
           static_cast<double>(prefix.hits));
  WriteOne(text, "nosa_prefix_evicted_chunks_total", "counter", "Chunks of cached beginnings that made room.",
           static_cast<double>(prefix.chunks_evicted));
  WriteOne(text, "nosa_prefix_retained_bytes", "gauge",
           "Bytes of cached beginnings that no request uses, summaries included; they make room when it is needed.",
           static_cast<double>(prefix.retained_bytes + prefix.summary_bytes));
  WriteOne(text, "nosa_kv_lookups_total", "counter", "Sealed KV blocks that were asked for.",
           static_cast<double>(kv.lookups));
  WriteOne(text, "nosa_kv_hits_total", "counter", "Of these, found in the fastest tier.", static_cast<double>(kv.hits));
  WriteOne(text, "nosa_kv_fetched_bytes_total", "counter", "Bytes read from the cold tier.",
           static_cast<double>(kv.bytes_fetched));
  WriteOne(text, "nosa_kv_damaged_blocks_total", "counter", "Blocks that their checksum refused.",
           static_cast<double>(kv.damaged_blocks));
  WriteOne(text, "nosa_kv_recomputed_blocks_total", "counter", "Damaged blocks whose contents were computed again.",
           static_cast<double>(stats.engine.recomputed_blocks));
  WriteOne(text, "nosa_kv_stall_seconds_total", "counter", "Time with nothing to do but wait for the cold tier.",
           kv.stall_seconds);
}

}  // namespace

void MetricsText::Family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void MetricsText::Sample(double value, Labels labels, std::string_view suffix) {
  text_ += fmt::format("{}{}", name_, suffix);
  for (size_t i = 0; i < labels.size(); ++i)
    text_ += fmt::format("{}{}=\"{}\"", i == 0 ? "{" : ",", labels[i].first, Escaped(labels[i].second));
  if (!labels.empty()) text_ += '}';
  text_ += fmt::format(" {}\n", value);
}

void SecondsHistogram::Observe(double seconds) {
  int i = 0;
  while (i < kBounds && seconds > Bound(i)) ++i;
  counts_[static_cast<size_t>(i)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(seconds, std::memory_order_relaxed);
}

void SecondsHistogram::Write(MetricsText* text) const {
  uint64_t below = 0;
  for (int i = 0; i <= kBounds; ++i) {
    below += counts_[static_cast<size_t>(i)].load(std::memory_order_relaxed);
    const std::string bound = i == kBounds ? "+Inf" : fmt::format("{}", Bound(i));
    const std::pair<std::string_view, std::string_view> labels[] = {{"le", bound}};
    text->Sample(static_cast<double>(below), labels, "_bucket");
  }
  text->Sample(sum_.load(std::memory_order_relaxed), {}, "_sum");
  text->Sample(static_cast<double>(below), {}, "_count");
}

void ServerMetrics::CountReply(std::string_view route, int status) {
  const std::lock_guard lock(mutex_);
  ++replies_[{std::string(route), status}];
}

std::string ServerMetrics::Write(const engine::ServiceStats& stats) const {
  MetricsText text;
  text.Family("nosa_http_replies_total", "counter", "Replies by route and status code.");
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, count] : replies_) {
      const std::string code = std::to_string(key.second);
      const std::pair<std::string_view, std::string_view> labels[] = {{"route", key.first}, {"code", code}};
      text.Sample(static_cast<double>(count), labels);
    }
  }
  const auto seconds = [&](std::string_view name, std::string_view help, const SecondsHistogram& histogram) {
    text.Family(name, "histogram", help);
    histogram.Write(&text);
  };
  seconds("nosa_http_seconds", "Time of whole replies.", http_seconds);
  seconds("nosa_queue_seconds", "From a request's arrival to the first chunk of its prompt.", queue_seconds);
  seconds("nosa_first_token_seconds", "From a request's arrival to its first token.", first_token_seconds);
  seconds("nosa_token_gap_seconds", "Between two tokens of an answer.", token_gap_seconds);
  WriteOne(&text, "nosa_connections", "gauge", "Open connections.", static_cast<double>(connections.load()));
  WriteOne(&text, "nosa_connections_refused_total", "counter", "Connections closed because there were too many.",
           static_cast<double>(connections_refused.load()));
  WriteOne(&text, "nosa_requests_malformed_total", "counter", "Requests that were no HTTP, too long or too slow.",
           static_cast<double>(requests_malformed.load()));
  WriteOne(&text, "nosa_disconnects_total", "counter", "Clients that left before their answer's end.",
           static_cast<double>(disconnects.load()));
  WriteService(&text, stats);
  WriteOne(&text, "process_resident_memory_bytes", "gauge", "Memory of the process that is in RAM.",
           static_cast<double>(ResidentBytes()));
  return text.Take();
}

}  // namespace nosa::server

#include "apps/answer_report.h"

#include <fmt/ranges.h>

#include <cstdio>

#include "apps/report.h"
#include "apps/table.h"
#include "base/bytes.h"

namespace nosa::apps {
namespace {

double PerSecond(int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

// Of everything that was cached, wherever it lay: whole blocks, as tiers count them.
uint64_t KvBytes(const RunReport& report) {
  const kv::BlockLayout& layout = report.engine.store().layout();
  uint64_t blocks = 0;
  for (const Answer& answer : report.answers) {
    blocks += static_cast<uint64_t>(
        layout.Blocks(answer.result.prompt_tokens + static_cast<int64_t>(answer.result.ids.size())));
  }
  return blocks * layout.BlockBytes() * static_cast<uint64_t>(layout.lanes());
}

// Of blocks that steps planned on a device asked for.
double SeatHitRate(const engine::SeatingStats& stats) {
  const auto selected = static_cast<double>(stats.counters.selected);
  return selected == 0 ? 1.0 : 1.0 - static_cast<double>(stats.counters.missing) / selected;
}

int64_t DecodeTokens(const RunReport& report) {
  int64_t tokens = 0;
  for (const Answer& answer : report.answers) tokens += answer.result.decode_tokens;
  return tokens;
}

}  // namespace

double HitRate(const kv::StoreStats& stats) {
  return stats.lookups == 0 ? 1.0 : static_cast<double>(stats.hits) / static_cast<double>(stats.lookups);
}

int64_t RunReport::GeneratedTokens() const {
  int64_t tokens = 0;
  for (const Answer& answer : answers) tokens += static_cast<int64_t>(answer.result.ids.size());
  return tokens;
}

std::string FormatFingerprint(uint64_t fingerprint) { return fmt::format("{:#018x}", fingerprint); }

io::OrderedJson KvJson(const RunReport& report) {
  const engine::EngineStats stats = report.engine.stats();
  io::OrderedJson kv;
  kv["total_bytes"] = KvBytes(report);
  kv["host_budget_bytes"] = report.engine.store().host_budget_bytes();
  kv["host_peak_bytes"] = stats.kv.host_peak_bytes;
  kv["disk_bytes"] = stats.kv.cold_peak_bytes;
  kv["device_peak_bytes"] = stats.seating.device_bytes;
  kv["locality"] = stats.decode_locality.mean();
  kv["hit_rate"] = HitRate(stats.kv);
  kv["blocks_fetched"] = stats.kv.blocks_fetched;
  kv["bytes_fetched"] = stats.kv.bytes_fetched;
  kv["recomputed_blocks"] = stats.recomputed_blocks;
  kv["damaged_blocks"] = stats.kv.damaged_blocks;
  kv["prefill_locality"] = stats.prefill_locality.mean();
  kv["stall_s"] = stats.kv.stall_seconds;
  kv["tiers"] = report.engine.store().DescribeTiers();
  if (stats.seating.seats > 0) {
    kv["steps"] = {{"seats", stats.seating.seats},
                   {"slots", stats.seating.slots},
                   {"hit_rate", SeatHitRate(stats.seating)},
                   {"bytes_fetched", stats.seating.bytes_fetched}};
  }
  return kv;
}

io::OrderedJson AnswerJson(const RunReport& report, const Answer& answer) {
  const engine::RequestResult& result = answer.result;
  io::OrderedJson json;
  json["text"] = result.text;
  json["ids"] = result.ids;
  json["prompt_tokens"] = result.prompt_tokens;
  json["generated_tokens"] = result.ids.size();
  json["finish_reason"] = std::string(engine::FinishReasonName(result.reason));
  json["fingerprint"] = FormatFingerprint(result.fingerprint);
  io::OrderedJson timing;
  timing["load_s"] = report.session.load_seconds;
  timing["prefill_s"] = result.prefill_seconds;
  timing["decode_s"] = result.decode_seconds;
  timing["prefill_tok_s"] = PerSecond(result.prefill_tokens, result.prefill_seconds);
  timing["decode_tok_s"] = PerSecond(result.decode_tokens, result.decode_seconds);
  if (report.first_token_seconds >= 0) timing["first_token_s"] = report.first_token_seconds;
  json["timing"] = std::move(timing);
  json["kv"] = KvJson(report);
  return json;
}

void PrintAnswersAsJson(const RunReport& report) {
  if (report.answers.size() == 1) return PrintJson(AnswerJson(report, report.answers.front()));
  io::OrderedJson list = io::OrderedJson::array();
  for (const Answer& answer : report.answers) {
    io::OrderedJson json = AnswerJson(report, answer);
    json["prompt"] = answer.name;
    list.push_back(std::move(json));
  }
  PrintJson(list);
}

void PrintAnswers(const RunReport& report) {
  for (const Answer& answer : report.answers) {
    if (report.answers.size() > 1) Print(fmt::format("== {}\n", answer.name));
    if (report.session.tokenizer) {
      Print(answer.result.text + "\n");
    } else {
      Print(fmt::format("[{}]\n", fmt::join(answer.result.ids, ", ")));
    }
  }
}

void PrintRunSummary(const RunReport& report) {
  Table table({"prompt", "tokens", "prefill tok/s", "generated", "decode tok/s", "ended by", "fingerprint"});
  for (const Answer& answer : report.answers) {
    const engine::RequestResult& r = answer.result;
    table.Row({answer.name, std::to_string(r.prompt_tokens),
               fmt::format("{:.0f}", PerSecond(r.prefill_tokens, r.prefill_seconds)), std::to_string(r.ids.size()),
               fmt::format("{:.1f}", PerSecond(r.decode_tokens, r.decode_seconds)),
               std::string(engine::FinishReasonName(r.reason)), FormatFingerprint(r.fingerprint)});
  }
  const engine::EngineStats stats = report.engine.stats();
  std::string kv =
      fmt::format("KV {} in all, RAM peak {} of {}", FormatByteSize(KvBytes(report)),
                  FormatByteSize(stats.kv.host_peak_bytes), FormatByteSize(report.engine.store().host_budget_bytes()));
  if (report.engine.store().has_cold_tier()) {
    const int64_t steps = std::max<int64_t>(1, DecodeTokens(report));
    kv += fmt::format(", disk {}, hit rate {:.3f}, fetched {} ({} a token)", FormatByteSize(stats.kv.cold_peak_bytes),
                      HitRate(stats.kv), FormatByteSize(stats.kv.bytes_fetched),
                      FormatByteSize(stats.kv.bytes_fetched / static_cast<uint64_t>(steps)));
  }
  if (stats.seating.slots > 0) {
    kv += fmt::format(", on the device {} ({} slots a KV head, hit rate {:.3f}, fetched {})",
                      FormatByteSize(stats.seating.device_bytes), stats.seating.slots, SeatHitRate(stats.seating),
                      FormatByteSize(stats.seating.bytes_fetched));
  }
  if (stats.decode_locality.queries > 0) kv += fmt::format(", locality {:.3f}", stats.decode_locality.mean());
  if (stats.recomputed_blocks > 0) kv += fmt::format(", {} damaged blocks computed again", stats.recomputed_blocks);
  const std::string text = "\n" + table.ToString() + kv + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace nosa::apps

#include "apps/server_watcher.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/clock.h"

namespace nosa::apps {
namespace {

constexpr std::chrono::milliseconds kPeriod(100);

uint64_t MeanRss(const std::vector<const ServerSample*>& samples, size_t begin, size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += samples[i]->rss;
  return end > begin ? static_cast<uint64_t>(sum / static_cast<double>(end - begin)) : 0;
}

}  // namespace

std::optional<ServerSample> SampleOf(std::string_view metrics) {
  const std::map<std::string, double> values = server::MetricValues(metrics);
  const auto value = [&](const char* name) {
    const auto it = values.find(name);
    return it == values.end() ? 0.0 : it->second;
  };
  if (!values.contains("nosa_requests{state=\"queued\"}")) return std::nullopt;
  ServerSample sample;
  sample.queued = static_cast<int>(value("nosa_requests{state=\"queued\"}"));
  sample.reading = static_cast<int>(value("nosa_requests{state=\"reading\"}"));
  sample.answering = static_cast<int>(value("nosa_requests{state=\"answering\"}"));
  sample.host = value("nosa_kv_bytes{tier=\"host\"}");
  sample.cold = value("nosa_kv_bytes{tier=\"cold\"}");
  sample.host_budget = value("nosa_kv_host_budget_bytes");
  sample.rss = value("process_resident_memory_bytes");
  return sample;
}

ServerWatch WatchOf(const std::vector<ServerSample>& samples, double from, double to) {
  std::vector<const ServerSample*> within;
  for (const ServerSample& sample : samples) {
    if (sample.at >= from && sample.at <= to) within.push_back(&sample);
  }
  ServerWatch watch;
  watch.samples = static_cast<int>(within.size());
  if (within.empty()) return watch;
  const auto most = [](uint64_t* peak, double bytes) { *peak = std::max(*peak, static_cast<uint64_t>(bytes)); };
  for (const ServerSample* sample : within) {
    watch.queued_mean += sample->queued / static_cast<double>(within.size());
    watch.queued_peak = std::max(watch.queued_peak, sample->queued);
    watch.reading_peak = std::max(watch.reading_peak, sample->reading);
    watch.answering_peak = std::max(watch.answering_peak, sample->answering);
    watch.running_peak = std::max(watch.running_peak, sample->reading + sample->answering);
    most(&watch.host_peak, sample->host);
    most(&watch.host_budget, sample->host_budget);
    most(&watch.cold_peak, sample->cold);
    most(&watch.rss_peak, sample->rss);
  }
  const size_t quarter = std::max<size_t>(within.size() / 4, 1);
  watch.rss_first = MeanRss(within, 0, quarter);
  watch.rss_last = MeanRss(within, within.size() - quarter, within.size());
  return watch;
}

Result<std::unique_ptr<ServerWatcher>> ServerWatcher::Create(const std::string& url) {
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<server::LoadClient> client,
                        server::LoadClient::Create(url, std::chrono::seconds(30)));
  return std::unique_ptr<ServerWatcher>(new ServerWatcher(std::move(client)));
}

ServerWatcher::ServerWatcher(std::unique_ptr<server::LoadClient> client) : client_(std::move(client)) {
  thread_ = std::thread([this] { Run(); });
}

ServerWatcher::~ServerWatcher() {
  stop_ = true;
  client_->Stop();
  thread_.join();
}

void ServerWatcher::Run() {
  const SteadyClock clock;
  for (; !stop_; std::this_thread::sleep_for(kPeriod)) {
    const Result<std::string> text = client_->Get("/metrics");
    std::optional<ServerSample> sample = text.ok() ? SampleOf(*text) : std::nullopt;
    if (stop_) return;
    const std::lock_guard lock(mutex_);
    if (sample) {
      sample->at = clock.Now();
      samples_.push_back(*sample);
    } else {
      ++missed_;
    }
  }
}

std::optional<ServerSample> ServerWatcher::Last() const {
  const std::lock_guard lock(mutex_);
  return samples_.empty() ? std::nullopt : std::optional(samples_.back());
}

std::optional<ServerWatch> ServerWatcher::Between(double from, double to) const {
  const std::lock_guard lock(mutex_);
  if (samples_.empty()) return std::nullopt;
  ServerWatch watch = WatchOf(samples_, from, to);
  watch.missed = missed_;
  return watch;
}

}  // namespace nosa::apps

#include "apps/load_plan.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/rng.h"

namespace nosa::apps {
namespace {

// Streams of the random numbers: one for each question, and far from them one for each prompt and each group.
constexpr uint64_t kGaps = 0, kLengths = 1, kGroups = 2;
constexpr uint64_t kPrompts = uint64_t{1} << 40, kShared = uint64_t{1} << 41;

void AppendIds(const LoadShape& shape, uint64_t stream, int count, std::vector<TokenId>* ids) {
  const Philox rng(shape.seed, stream);
  for (int i = 0; i < count; ++i) {
    ids->push_back(
        static_cast<TokenId>(rng.Block(static_cast<uint64_t>(i))[0] % static_cast<uint32_t>(shape.vocabulary)));
  }
}

}  // namespace

PlannedRequest PlanRequest(const LoadShape& shape, uint64_t number) {
  NOSA_CHECK(shape.shortest > 0 && shape.shortest <= shape.longest && shape.groups > 0 && shape.vocabulary > 0,
             "prompts of {} to {} tokens in {} groups", shape.shortest, shape.longest, shape.groups);
  const double u = Philox(shape.seed, kLengths).Uniform(number);
  // Each length from its own value up to the next: the longest is as likely as its neighbour.
  const double low = std::log(shape.shortest), high = std::log(shape.longest + 1.0);
  const int tokens = static_cast<int>(std::exp(low + u * (high - low)));
  const uint32_t group = Philox(shape.seed, kGroups).Block(number)[0] % static_cast<uint32_t>(shape.groups);
  return {.number = number,
          .at = 0,
          .own_tokens = std::clamp(tokens, shape.shortest, shape.longest),
          .group = static_cast<int>(group)};
}

std::vector<PlannedRequest> PoissonArrivals(const LoadShape& shape, double rate, double seconds) {
  NOSA_CHECK(rate > 0, "{} requests a second", rate);
  const Philox rng(shape.seed, kGaps);
  std::vector<PlannedRequest> arrivals;
  double at = 0;
  for (uint64_t number = 0;; ++number) {
    at -= std::log1p(-static_cast<double>(rng.Uniform(number))) / rate;
    if (at >= seconds) return arrivals;
    arrivals.push_back(PlanRequest(shape, number));
    arrivals.back().at = at;
  }
}

std::vector<TokenId> PromptOf(const LoadShape& shape, const PlannedRequest& request) {
  std::vector<TokenId> ids;
  ids.reserve(static_cast<size_t>(shape.shared_tokens + request.own_tokens));
  AppendIds(shape, kShared + static_cast<uint64_t>(request.group), shape.shared_tokens, &ids);
  AppendIds(shape, kPrompts + request.number, request.own_tokens, &ids);
  return ids;
}

double Percentile(std::span<const double> sorted, double p) {
  if (sorted.empty()) return 0;
  const double at = std::clamp(p, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

Percentiles PercentilesOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {Percentile(values, 0.5), Percentile(values, 0.95), Percentile(values, 0.99)};
}

int MostAtOnce(std::span<const std::pair<double, double>> intervals) {
  std::vector<double> begins, ends;
  for (const auto& [begin, end] : intervals) {
    begins.push_back(begin);
    ends.push_back(end);
  }
  std::sort(begins.begin(), begins.end());
  std::sort(ends.begin(), ends.end());
  size_t most = 0;
  // At the moment of each beginning: those that have begun, less those that ended before it.
  for (size_t begun = 0, ended = 0; begun < begins.size(); ++begun) {
    while (ended < ends.size() && ends[ended] < begins[begun]) ++ended;
    most = std::max(most, begun + 1 - ended);
  }
  return static_cast<int>(most);
}

}  // namespace nosa::apps

// What a load test asks for, and when: plain data of a seed, so that every server gets the same.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace nosa::apps {

struct LoadShape {
  uint64_t seed = 1;
  int shortest = 64, longest = 1024;  // tokens of a prompt beside what it shares; its logarithm is uniform
  int shared_tokens = 0;              // that a prompt begins with, as all prompts of its group
  int groups = 1;                     // > 0
  int vocabulary = 1000;              // ids are below it
};

// One request: its number is what everything else of it follows from.
struct PlannedRequest {
  uint64_t number = 0;
  double at = 0;  // seconds from the start; 0 in a closed loop
  int own_tokens = 0;
  int group = 0;
};

// Request `number` of that shape.
PlannedRequest PlanRequest(const LoadShape& shape, uint64_t number);
// Arrivals of a Poisson process of `rate` > 0 a second within [0, seconds): gaps are exponential. In order of time.
std::vector<PlannedRequest> PoissonArrivals(const LoadShape& shape, double rate, double seconds);
// The ids of its prompt: the group's, then its own.
std::vector<TokenId> PromptOf(const LoadShape& shape, const PlannedRequest& request);

// The value that a share `p` of [0, 1] of the values does not pass, between two of them by their distance; `sorted`
// rises. 0 of no values.
double Percentile(std::span<const double> sorted, double p);

struct Percentiles {
  double p50 = 0, p95 = 0, p99 = 0;
};
Percentiles PercentilesOf(std::vector<double> values);

// The most intervals [first, last] that have a moment in common.
int MostAtOnce(std::span<const std::pair<double, double>> intervals);

}  // namespace nosa::apps

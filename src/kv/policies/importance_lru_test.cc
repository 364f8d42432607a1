// importance-lru by its rule, and against lru on selections as a model with block scores makes them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "kv/policy.h"

namespace nosa::kv {
namespace {

constexpr auto kAll = [](int) { return true; };

TEST(ImportanceLru, OldestStepThenLowestImportanceThenLowestSlot) {
  const auto policy = MakePolicy("importance-lru").value();
  policy->Resize(5);
  policy->OnInsert(0, {.step = 2, .importance = -5});
  policy->OnInsert(1, {.step = 1, .importance = 9});
  policy->OnInsert(2, {.step = 1, .importance = 3});
  policy->OnInsert(3, {.step = 1, .importance = 9});
  policy->OnInsert(4, {.step = 3, .importance = -INFINITY});
  for (const int expected : {2, 1, 3, 0, 4}) {
    EXPECT_EQ(policy->Victim(kAll), expected);
    policy->OnRemove(expected);
  }
}

TEST(ImportanceLru, AUseMovesBothStepAndImportance) {
  const auto policy = MakePolicy("importance-lru").value();
  policy->Resize(2);
  policy->OnInsert(0, {.step = 1, .importance = 1});
  policy->OnInsert(1, {.step = 1, .importance = 2});
  policy->OnUse(1, {.step = 1, .importance = 0});
  EXPECT_EQ(policy->Victim(kAll), 1);
  policy->OnUse(1, {.step = 2, .importance = 0});
  EXPECT_EQ(policy->Victim(kAll), 0);
}

TEST(Lru, OrderOfCalls) {
  const auto policy = MakePolicy("lru").value();
  policy->Resize(3);
  for (const int slot : {2, 0, 1}) policy->OnInsert(slot, {});
  policy->OnUse(2, {});
  for (const int expected : {0, 1, 2}) {
    EXPECT_EQ(policy->Victim(kAll), expected);
    policy->OnRemove(expected);
  }
}

// Selections without a model: block b scores importance[b] + query[b], where the query part of each block wanders
// (first-order, `memory` from step to step) and the importance stays. The k best are selected, in order of their ids.
class Trace {
 public:
  Trace(uint64_t seed, float memory) : memory_(memory), rng_(seed), importance(kBlocks), query_(kBlocks) {
    for (float& x : importance) x = Normal();
    for (float& x : query_) x = Normal();
  }

  static constexpr int kBlocks = 300, kSelected = 32;

  std::vector<int> Next() {
    const float fresh = std::sqrt(1 - memory_ * memory_);
    for (float& x : query_) x = memory_ * x + fresh * Normal();
    std::vector<int> ids(kBlocks);
    std::iota(ids.begin(), ids.end(), 0);
    std::partial_sort(ids.begin(), ids.begin() + kSelected, ids.end(),
                      [&](int a, int b) { return Score(a) > Score(b); });
    ids.resize(kSelected);
    std::sort(ids.begin(), ids.end());
    return ids;
  }

 private:
  float Normal() { return rng_.Normal(counter_++); }
  float Score(int b) const { return importance[static_cast<size_t>(b)] + query_[static_cast<size_t>(b)]; }

  float memory_;
  Philox rng_;
  uint64_t counter_ = 0;

 public:
  std::vector<float> importance;  // by block; constant

 private:
  std::vector<float> query_;
};

// One lane of `slots` slots under a policy: hits are used, then what is missing comes in, a selected block never
// leaves.
double HitRate(std::string_view name, Trace trace, int slots) {
  const auto policy = MakePolicy(name).value();
  policy->Resize(slots);
  std::vector<int> block_of(static_cast<size_t>(slots), -1);
  constexpr uint64_t kSteps = 300;
  int hits = 0, filled = 0;
  for (uint64_t step = 0; step < kSteps; ++step) {
    const std::vector<int> selected = trace.Next();
    const auto hint = [&](int block) { return UseHint{step, trace.importance[static_cast<size_t>(block)]}; };
    std::vector<int> missing;
    for (const int block : selected) {
      const auto slot = std::find(block_of.begin(), block_of.end(), block) - block_of.begin();
      if (slot == slots) {
        missing.push_back(block);
      } else {
        policy->OnUse(static_cast<int>(slot), hint(block));
        ++hits;
      }
    }
    for (const int block : missing) {
      int slot = filled;
      if (filled < slots) {
        ++filled;
      } else {
        slot = policy->Victim([&](int s) {
          return !std::binary_search(selected.begin(), selected.end(), block_of[static_cast<size_t>(s)]);
        });
        policy->OnRemove(slot);
      }
      policy->OnInsert(slot, hint(block));
      block_of[static_cast<size_t>(slot)] = block;
    }
  }
  return static_cast<double>(hits) / (kSteps * Trace::kSelected);
}

// Also tried, on traces like these and on ones whose importance drifts or says nothing: the lowest importance among the
// oldest quarter, half or three quarters of the slots, the sum of both ranks, and importance alone. Points of hit rate
// against importance-lru, at 1.25 k, 2 k and 4 k slots, for the oldest quarter: memory 0.5, stable: +1, +3, +3; memory
// 0.95, stable: -0.2, +0.2, +0.5; memory 0.95, no importance: -1, -0.7, -0.2. Bolder rules gain up to 6 where little
// repeats and lose up to 8 where importance says little. Models are trained so that much repeats: no clear win there,
// and the rule that needs no weight stays.
TEST(ImportanceLru, HitsAtLeastAsOftenAsLruWhereImportanceIsStable) {
  for (const float memory : {0.5f, 0.8f, 0.95f}) {
    for (const int slots : {36, 40, 48, 64}) {
      double lru = 0, importance = 0;
      for (uint64_t seed = 0; seed < 3; ++seed) {
        lru += HitRate("lru", Trace(seed, memory), slots) / 3;
        importance += HitRate("importance-lru", Trace(seed, memory), slots) / 3;
      }
      EXPECT_GE(importance, lru) << "memory " << memory << ", slots " << slots;
      if (memory < 0.6f && slots <= 48) {
        EXPECT_GE(importance, lru + 0.005) << "slots " << slots;
      }
    }
  }
}

TEST(ImportanceLru, MoreSlotsHitMore) {
  for (const std::string& name : PolicyNames()) {
    EXPECT_GT(HitRate(name, Trace(1, 0.8f), 64), HitRate(name, Trace(1, 0.8f), 40) + 0.02) << name;
  }
}

}  // namespace
}  // namespace nosa::kv

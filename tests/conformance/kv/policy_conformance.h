// What every eviction policy must do. A program instantiates it over its policies:
//   INSTANTIATE_TEST_SUITE_P(Mine, PolicyConformance, testing::ValuesIn(...), CaseName);
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kv/policy.h"

namespace nosa::kv {

struct PolicyCase {
  std::string name;
  std::unique_ptr<EvictionPolicy> (*make)(const std::string& name);
  friend std::ostream& operator<<(std::ostream& out, const PolicyCase& c) { return out << c.name; }
};

class PolicyConformance : public testing::TestWithParam<PolicyCase> {
 protected:
  std::unique_ptr<EvictionPolicy> Make() const { return GetParam().make(GetParam().name); }

  // A policy and what it was told: random lives of slots, the same for the same seed.
  class Replay {
   public:
    Replay(std::unique_ptr<EvictionPolicy> policy, uint64_t seed) : policy_(std::move(policy)), rng_(seed) {
      Resize(6);
    }

    // One random event; checks what must hold of the victim, and returns it.
    int Step() {
      const uint32_t kind = Draw() % 16;
      if (kind == 0) Resize(static_cast<int>(Draw() % 12));
      if (!occupied_.empty()) Touch(static_cast<int>(Draw() % occupied_.size()), kind);
      step_ += Draw() % 3 == 0 ? 1 : 0;
      std::vector<bool> allowed(occupied_.size());
      const uint32_t share = Draw() % 5;  // from none to all
      for (size_t i = 0; i < allowed.size(); ++i) allowed[i] = Draw() % 4 < share;
      const int victim = policy_->Victim([&](int slot) { return allowed.at(static_cast<size_t>(slot)); });
      Check(victim, allowed);
      return victim;
    }

   private:
    uint32_t Draw() { return rng_.Block(counter_++)[0]; }

    UseHint Hint() {
      constexpr float kInf = std::numeric_limits<float>::infinity();
      const float special[] = {-kInf, kInf, 0, -0.0f, std::numeric_limits<float>::quiet_NaN()};
      const uint32_t i = Draw() % 10;
      return {step_, i < 5 ? special[i] : static_cast<float>(Draw() % 7)};
    }

    void Resize(int slots) {
      for (size_t i = static_cast<size_t>(slots); i < occupied_.size(); ++i) {
        if (occupied_[i]) policy_->OnRemove(static_cast<int>(i));
      }
      occupied_.resize(static_cast<size_t>(slots), false);
      policy_->Resize(slots);
    }

    void Touch(int slot, uint32_t kind) {
      auto occupied = occupied_[static_cast<size_t>(slot)];
      if (!occupied) {
        policy_->OnInsert(slot, Hint());
        occupied = true;
      } else if (kind < 6) {
        policy_->OnRemove(slot);
        occupied = false;
      } else {
        policy_->OnUse(slot, Hint());
      }
    }

    void Check(int victim, const std::vector<bool>& allowed) const {
      bool any = false;
      for (size_t i = 0; i < allowed.size(); ++i) any |= occupied_[i] && allowed[i];
      EXPECT_EQ(victim != -1, any) << "victim " << victim;
      if (victim == -1) return;
      ASSERT_GE(victim, 0);
      ASSERT_LT(static_cast<size_t>(victim), occupied_.size());
      EXPECT_TRUE(occupied_[static_cast<size_t>(victim)]) << "slot " << victim << " is empty";
      EXPECT_TRUE(allowed[static_cast<size_t>(victim)]) << "slot " << victim << " must stay";
    }

    std::unique_ptr<EvictionPolicy> policy_;
    Philox rng_;
    uint64_t counter_ = 0;
    uint64_t step_ = 1;
    std::vector<bool> occupied_;
  };
};

TEST_P(PolicyConformance, VictimsAreOccupiedAndEvictable) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Replay replay(Make(), seed);
    for (int i = 0; i < 400; ++i) {
      replay.Step();
      ASSERT_FALSE(HasFailure()) << "seed " << seed << ", event " << i;
    }
  }
}

TEST_P(PolicyConformance, TheSameEventsGiveTheSameVictims) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    Replay a(Make(), seed), b(Make(), seed);
    for (int i = 0; i < 400; ++i) ASSERT_EQ(a.Step(), b.Step()) << "seed " << seed << ", event " << i;
  }
}

TEST_P(PolicyConformance, NothingIsNobodysVictim) {
  const auto policy = Make();
  const auto all = [](int) { return true; };
  EXPECT_EQ(policy->Victim(all), -1);
  policy->Resize(0);
  EXPECT_EQ(policy->Victim(all), -1);
  policy->Resize(2);
  EXPECT_EQ(policy->Victim(all), -1);
  policy->OnInsert(1, {});
  EXPECT_EQ(policy->Victim(all), 1);
  policy->OnRemove(1);
  EXPECT_EQ(policy->Victim(all), -1);
}

// Asking is not using: without an event in between the answer stays.
TEST_P(PolicyConformance, AskingChangesNothing) {
  const auto policy = Make();
  policy->Resize(4);
  for (int i = 0; i < 4; ++i) policy->OnInsert(i, {.step = static_cast<uint64_t>(i), .importance = 1});
  const int first = policy->Victim([](int) { return true; });
  for (int i = 0; i < 4; ++i) policy->Victim([i](int slot) { return slot == i; });
  EXPECT_EQ(policy->Victim([](int) { return true; }), first);
}

}  // namespace nosa::kv

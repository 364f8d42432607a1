#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace nosa {
namespace {

using Words = std::array<uint32_t, 4>;

// Known answers of philox4x32 with 10 rounds: tests/kat_vectors of Random123. Its counter words 0 and 1 are
// our counter, 2 and 3 our stream; its key is our seed; low word first.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(Philox(0, 0).Block(0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(UINT64_MAX, UINT64_MAX).Block(UINT64_MAX), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox(0x299f31d0a4093822, 0x0370734413198a2e).Block(0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, SeedStreamAndCounterAllMatter) {
  std::set<Words> seen;
  for (uint64_t a : {0ull, 1ull, 1ull << 32, 1ull << 63}) {
    seen.insert(Philox(a, 0).Block(0));
    seen.insert(Philox(0, a).Block(0));
    seen.insert(Philox(0, 0).Block(a));
  }
  EXPECT_EQ(seen.size(), 10u);  // the three with a = 0 are one
}

// Bounds are 5 standard errors of the mean of n draws.
TEST(Philox, UniformHasTheRangeAndMomentsItSays) {
  const Philox rng(7, 3);
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const float u = rng.Uniform(static_cast<uint64_t>(i));
    ASSERT_GE(u, 0.0f);
    ASSERT_LT(u, 1.0f);
    ASSERT_EQ(u, rng.Uniform(static_cast<uint64_t>(i)));
    sum += u;
    squares += static_cast<double>(u) * u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kDraws));
}

TEST(Philox, NormalHasTheMomentsItSays) {
  const Philox rng(7, 4);
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double z = rng.Normal(static_cast<uint64_t>(i));
    ASSERT_TRUE(std::isfinite(z));
    sum += z;
    squares += z * z;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 5 * std::sqrt(1.0 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0, 5 * std::sqrt(2.0 / kDraws));
}

}  // namespace
}  // namespace nosa

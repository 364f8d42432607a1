// The arithmetic of draw_tokens: how likely a token is, as an integer. Sums of integers do not depend on their order,
// and no float below is a product that a sum follows, which one compiler would fuse and another not: every backend
// that calls these (kernels too, they are constexpr) gets the same bits.
#pragma once

#include <cstdint>
#include <limits>

#include "base/rng.h"

namespace nosa::ops {

// A distance says how much less likely a token is than the likeliest: 2^-(distance / 2^24) times as likely.
inline constexpr int kDistanceBits = 24;
// The likeliest token has weight 2^38: the least weight, 1, is 2^-38 of it, and those of as many tokens as a vocabulary
// may have a sum of at most 2^62.
inline constexpr int kWeightBits = 38;
inline constexpr int kMostDrawnFrom = 1 << 24;
// Distances from here on have weight 0: 2^-39 of the likeliest's is the last share that rounds to 1.
inline constexpr uint32_t kTooFar = (uint32_t{kWeightBits + 1} << kDistanceBits) + 1;

// Distance of a difference of logits of 1 at this temperature, which is not 0; at most the largest float.
constexpr float DistanceScale(float temperature) {
  constexpr float kLog2E = 0x1.715476p0f, kMost = std::numeric_limits<float>::max();
  const float scale = kLog2E * static_cast<float>(1 << kDistanceBits) / temperature;
  return scale <= kMost ? scale : kMost;
}

// Of a logit from the largest one: the difference and its product with `scale`, each rounded to a float, and then up to
// a whole number, so that only the largest logits are at 0. kTooFar for a logit that is not finite.
constexpr uint32_t DistanceOf(float largest, float logit, float scale) {
  const float distance = (largest - logit) * scale;
  const bool near = distance >= 0 && distance <= static_cast<float>(kTooFar - 1);
  const float bounded = near ? distance : 0.0f;
  const auto whole = static_cast<int32_t>(bounded);
  const auto rounded = static_cast<uint32_t>(whole + (static_cast<float>(whole) < bounded ? 1 : 0));
  return near ? rounded : kTooFar;
}

// 2^38 * 2^-(distance / 2^24), correct to 2^-26 of it or to the nearest integer; never rises with the distance.
constexpr uint64_t WeightOf(uint32_t distance) {
  if (distance >= kTooFar) return 0;
  // 2^-g for g in [0, 1), in units of 2^-32: 1 - g (c1 - g (c2 - ... g c6)), the polynomial of degree 6 that meets 2^-g
  // at both ends and in the five Chebyshev points between them.
  constexpr uint32_t kTerms[] = {0xb1721799, 0x3d7f690f, 0x0e34dbe7, 0x027412df, 0x0053b4a1, 0x00072c34};
  const uint32_t g = distance << (32 - kDistanceBits);
  const auto times_g = [g](uint32_t term) { return static_cast<uint32_t>(uint64_t{term} * g >> 32); };
  uint32_t sum = kTerms[5];
  for (int i = 4; i >= 0; --i) sum = kTerms[i] - times_g(sum);
  const uint64_t power = ((uint64_t{1} << 32) - times_g(sum)) << (kWeightBits - 32);
  const int halvings = static_cast<int>(distance >> kDistanceBits);
  return (power + (uint64_t{1} << halvings >> 1)) >> halvings;
}

// The upper 64 bits of a * b.
constexpr uint64_t MulHigh(uint64_t a, uint64_t b) {
  const uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
  const uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & 0xffffffff)) >> 32);
}

// The least integer from `value` on; `value` is in [0, 2^64) and has no more digits than a float.
constexpr uint64_t Ceiling(double value) {
  const auto whole = static_cast<uint64_t>(value);
  return whole + (static_cast<double>(whole) < value ? 1 : 0);
}

// The least sum of weights that reaches the share top_p of `total`, exactly; top_p in (0, 1), taken as a multiple of
// 2^-64, rounded up. At least 1.
constexpr uint64_t WeightToReach(float top_p, uint64_t total) {
  const uint64_t share = Ceiling(static_cast<double>(top_p) * 0x1p64);
  return MulHigh(share, total) + (share * total != 0 ? 1 : 0);
}

// The least weight that is min_p times that of the likeliest.
constexpr uint64_t LeastWeight(float min_p) {
  return Ceiling(static_cast<double>(min_p) * static_cast<double>(uint64_t{1} << kWeightBits));
}

// floor(u * total), where u in [0, 1) has 64 digits: the first two words of Philox(seed).Block(counter), so that the
// first 24 digits are those of Uniform(counter).
constexpr uint64_t DrawnPoint(uint64_t seed, uint64_t counter, uint64_t total) {
  const std::array<uint32_t, 4> words = Philox(seed).Block(counter);
  return MulHigh(uint64_t{words[0]} << 32 | words[1], total);
}

// The first tokens of a row, in the order of rising distance, ties by rising id: all that are nearer than `distance`,
// and of those just there the ids up to `last`.
struct RankCut {
  uint32_t distance = kTooFar - 1;
  int32_t last = std::numeric_limits<int32_t>::max();

  constexpr bool Keeps(uint32_t of, int32_t id) const { return of < distance || (of == distance && id <= last); }
};

}  // namespace nosa::ops

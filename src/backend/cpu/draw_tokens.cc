// The likeliest token is found with vectors. A draw then goes over the row's distances (ops/draw_weight.h) a few times:
// where top-k and top-p cut is found digit by digit, with a sum for each value of a digit, so nothing is sorted.
#include "ops/draw_tokens.h"

#include <algorithm>
#include <numeric>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"
#include "ops/draw_weight.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/draw_tokens.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

HWY_INLINE FloatVec FiniteOnly(FloatTag d, FloatVec v) {
  return hn::IfThenElse(hn::IsFinite(v), v, hn::Set(d, -HUGE_VALF));
}

// The first place of the largest finite logit; -1: none is finite. The maximum first, then its place: the second pass
// needs no indices in registers and stops early.
int64_t Likeliest(const float* x, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes(), whole = n - n % lanes;
  auto max_lanes = hn::Set(d, -HUGE_VALF);
  for (size_t i = 0; i < whole; i += lanes) max_lanes = hn::Max(max_lanes, FiniteOnly(d, LoadWide(d, x + i)));
  float max = MaxLane(d, max_lanes);
  for (size_t i = whole; i < n; ++i) {
    if (x[i] > max && x[i] < HUGE_VALF) max = x[i];
  }
  if (max == -HUGE_VALF) return -1;
  const auto wanted = hn::Set(d, max);
  for (size_t i = 0; i < whole; i += lanes) {
    const intptr_t lane = hn::FindFirstTrue(d, hn::Eq(LoadWide(d, x + i), wanted));
    if (lane >= 0) return static_cast<int64_t>(i) + lane;
  }
  size_t i = whole;
  while (x[i] != max) ++i;
  return static_cast<int64_t>(i);
}

// A loop that the compiler turns into vectors.
void Distances(const float* x, size_t n, float largest, float scale, uint32_t* distances) {
  for (size_t i = 0; i < n; ++i) distances[i] = ops::DistanceOf(largest, x[i], scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
namespace {

HWY_EXPORT(Likeliest);
HWY_EXPORT(Distances);

// Of the tokens that `cut` keeps, the fewest first ones whose values have the sum wanted_of(the sum of all) at least.
// value(distance) is not 0, the wanted sum neither.
template <typename Value, typename Wanted>
ops::RankCut Shorten(std::span<const uint32_t> distances, ops::RankCut cut, Value value, Wanted wanted_of) {
  // A distance in three digits: a first one of a 32nd of a halving, as even a row of flat logits spreads over several.
  constexpr int kShifts[] = {19, 8, 0};
  constexpr size_t kDigits = 2048;
  uint64_t wanted = 0;
  uint32_t from = 0, range = ops::kTooFar - 1;  // the last token kept has a distance in [from, from + range]
  for (const int shift : kShifts) {
    uint64_t sums[kDigits] = {};
    for (size_t i = 0; i < distances.size(); ++i) {
      if (distances[i] - from <= range && cut.Keeps(distances[i], static_cast<int32_t>(i)))
        sums[(distances[i] - from) >> shift] += value(distances[i]);
    }
    if (shift == kShifts[0]) {
      const uint64_t total = std::accumulate(std::begin(sums), std::end(sums), uint64_t{0});
      wanted = wanted_of(total);
      if (wanted >= total) return cut;
    }
    uint32_t digit = 0;
    while (sums[digit] < wanted) wanted -= sums[digit++];
    from += digit << shift;
    range = (uint32_t{1} << shift) - 1;
    if (sums[digit] == wanted) return {.distance = from + range};
  }
  // All that are left have the same distance: the lowest ids.
  int32_t last = 0;
  for (uint64_t left = (wanted + value(from) - 1) / value(from);; ++last) {
    if (distances[static_cast<size_t>(last)] == from && --left == 0) return {from, last};
  }
}

TokenId DrawRow(const float* x, size_t n, const ops::DrawParams& params, uint64_t counter, Scratch& scratch) {
  const int64_t likeliest = HWY_DYNAMIC_DISPATCH(Likeliest)(x, n);
  if (likeliest < 0) return 0;
  if (params.temperature == 0) return static_cast<TokenId>(likeliest);
  const std::span<uint32_t> distances = {scratch.Get<uint32_t>(n), n};
  HWY_DYNAMIC_DISPATCH(Distances)(x, n, x[likeliest], ops::DistanceScale(params.temperature), distances.data());
  ops::RankCut cut;
  if (params.top_k > 0) {
    cut = Shorten(
        distances, cut, [](uint32_t) { return uint64_t{1}; },
        [&](uint64_t) { return static_cast<uint64_t>(params.top_k); });
  }
  if (params.top_p < 1) {
    cut =
        Shorten(distances, cut, ops::WeightOf, [&](uint64_t total) { return ops::WeightToReach(params.top_p, total); });
  }
  const uint64_t least = ops::LeastWeight(params.min_p);
  const auto weight = [&](size_t i) -> uint64_t {
    if (!cut.Keeps(distances[i], static_cast<int32_t>(i))) return 0;
    const uint64_t all = ops::WeightOf(distances[i]);
    return all >= least ? all : 0;
  };
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) total += weight(i);
  uint64_t left = ops::DrawnPoint(params.seed, counter, total);
  size_t drawn = 0;
  for (uint64_t own = weight(0); left >= own; own = weight(++drawn)) left -= own;
  return static_cast<TokenId>(drawn);
}

}  // namespace

void draw_tokens(ops::Backend& backend, ops::Stream, const ops::DrawTokensArgs& args) {
  CpuContext& context = ContextOf(backend);
  const auto width = static_cast<size_t>(args.logits.dim(1));
  context.pool->ParallelFor(
      args.logits.rows(), RowsPerGrain(args.logits.dim(1)), [&](int64_t begin, int64_t end, int thread) {
        for (int64_t r = begin; r < end; ++r) {
          const auto i = static_cast<size_t>(r);
          const uint64_t counter = static_cast<uint64_t>(int64_t{args.positions[i]} + args.ahead);
          args.ids[i] = DrawRow(args.logits.row<float>(r), width, args.params[i], counter, context.scratch[thread]);
        }
      });
}

}  // namespace nosa::cpu
#endif

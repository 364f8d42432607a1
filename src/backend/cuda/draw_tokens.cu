// A CTA a row. The likeliest token takes one pass over the row, as which it ends for greedy rows. A draw takes a pass
// for each digit of where top-k and top-p cut (a sum for each value of the digit, in shared memory), and one that finds
// the drawn token: every pass computes distances and weights (ops/draw_weight.h) anew, which costs less than keeping
// them.
#include "ops/draw_tokens.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"
#include "ops/draw_weight.h"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 1024;  // a decode step has one row or few
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kDigits = 2 * kThreads;
constexpr int kFirstShift = 19, kSecondShift = 8;  // of a distance's digits; the third has shift 0
static_assert(((ops::kTooFar - 1) >> kFirstShift) < kDigits && kFirstShift - kSecondShift <= 11 && kSecondShift <= 11);
static_assert(kWarps == kWarpSize, "a warp looks through the sums of all");

struct DrawPlan {
  const float* logits;
  int64_t stride;
  int width;
  bool fours;
  const ops::DrawParams* params;
  const int32_t* positions;
  int32_t ahead;
  TokenId* ids;
};

struct DrawShared {
  uint32_t low[kDigits], high[kDigits];  // halves of the sum of each digit
  uint64_t sums[kWarps];
  uint64_t before, inside;  // the sum before the digit where the cut is, and its own
  uint32_t digit;
};

// Of two logits the larger has the larger rank, of two equal ones the one at the lower index; what is not finite has 0.
__device__ unsigned long long Rank(float logit, int i) {
  if (!isfinite(logit)) return 0;
  return (static_cast<unsigned long long>(OrderedKey(logit)) << 32) | (0xffffffffu - static_cast<uint32_t>(i));
}

// body(i, logit) for every logit of a row, by all threads.
template <typename Body>
__device__ void ForEach(const float* x, int width, bool fours, Body body) {
  int i = static_cast<int>(threadIdx.x);
  if (fours) {
#pragma unroll 4
    for (; i < width / 4; i += kThreads) {
      const float4 v = Load4(x + 4 * i);
      body(4 * i, v.x);
      body(4 * i + 1, v.y);
      body(4 * i + 2, v.z);
      body(4 * i + 3, v.w);
    }
    i = width / 4 * 4 + static_cast<int>(threadIdx.x);
  }
  for (; i < width; i += kThreads) body(i, x[i]);
}

struct Row {
  const float* x;
  int width;
  bool fours;
  float largest, scale;

  __device__ uint32_t Distance(float logit) const { return ops::DistanceOf(largest, logit, scale); }
};

// The sum of this lane's value and those of the lanes before it.
__device__ uint64_t WarpUpTo(uint64_t value) {
#pragma unroll
  for (int step = 1; step < kWarpSize; step *= 2) {
    const uint64_t from = __shfl_up_sync(kAllLanes, value, step);
    if (static_cast<int>(threadIdx.x) % kWarpSize >= step) value += from;
  }
  return value;
}

// Exactly, by 32-bit atomics, which are native in shared memory: what wraps is carried.
__device__ void AddTo(DrawShared* shared, uint32_t digit, uint64_t value) {
  const uint32_t low = static_cast<uint32_t>(value), old = atomicAdd(&shared->low[digit], low);
  const uint32_t high = static_cast<uint32_t>(value >> 32) + (old + low < old ? 1u : 0u);
  if (high != 0) atomicAdd(&shared->high[digit], high);
}

// The least id i with value(0) + ... + value(i) > target_of(the sum of all), which is less than that sum. The ids are
// split among the warps, those of the warp that has it again, until one is left. All threads call and get it.
template <typename Value, typename Target>
__device__ int FindId(int width, DrawShared* shared, Value value, Target target_of) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  int begin = 0, end = width;
  uint64_t target = 0;
  for (bool first = true;; first = false) {
    const int part = (end - begin + kWarps - 1) / kWarps;
    const int to = min(end, begin + (warp + 1) * part);
    uint64_t sum = 0;
#pragma unroll 4
    for (int i = begin + warp * part + self; i < to; i += kWarpSize) sum += value(i);
    sum = WarpSum(sum);
    __syncthreads();  // the sums before have been read
    if (self == 0) shared->sums[warp] = sum;
    __syncthreads();
    const uint64_t own = shared->sums[self], upto = WarpUpTo(own);
    if (first) target = target_of(__shfl_sync(kAllLanes, upto, kWarpSize - 1));
    const int chosen = __ffs(static_cast<int>(__ballot_sync(kAllLanes, upto > target))) - 1;
    target -= __shfl_sync(kAllLanes, upto - own, chosen);
    begin += chosen * part;
    end = min(end, begin + part);
    if (end - begin == 1) return begin;
  }
}

// Of the tokens that `cut` keeps, the fewest first ones whose values have the sum wanted_of(the sum of all) at least.
// value(distance) is not 0, the wanted sum neither. All threads call and get it.
template <typename Value, typename Wanted>
__device__ ops::RankCut Shorten(const Row& row, ops::RankCut cut, DrawShared* shared, Value value, Wanted wanted_of) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  uint64_t wanted = 0;
  uint32_t from = 0, range = ops::kTooFar - 1;  // the last token kept has a distance in [from, from + range]
  for (int shift = kFirstShift;; shift = shift == kFirstShift ? kSecondShift : 0) {
    for (int d = thread; d < kDigits; d += kThreads) shared->low[d] = shared->high[d] = 0;
    __syncthreads();
    ForEach(row.x, row.width, row.fours, [&](int i, float logit) {
      const uint32_t distance = row.Distance(logit);
      if (distance - from <= range && cut.Keeps(distance, i))
        AddTo(shared, (distance - from) >> shift, value(distance));
    });
    __syncthreads();
    // A thread has two digits.
    const auto sum_of = [&](int d) { return uint64_t{shared->high[d]} << 32 | shared->low[d]; };
    const uint64_t first = sum_of(2 * thread), both = first + sum_of(2 * thread + 1);
    uint64_t upto = WarpUpTo(both);
    if (self == kWarpSize - 1) shared->sums[warp] = upto;
    __syncthreads();
    const uint64_t warps = WarpUpTo(shared->sums[self]);
    if (shift == kFirstShift) {
      const uint64_t total = __shfl_sync(kAllLanes, warps, kWarpSize - 1);
      wanted = wanted_of(total);
      if (wanted >= total) return cut;
    }
    const uint64_t others = __shfl_sync(kAllLanes, warps, max(warp - 1, 0));
    if (warp > 0) upto += others;
    if (upto - both < wanted && wanted <= upto) {
      const bool in_first = wanted <= upto - both + first;
      shared->digit = static_cast<uint32_t>(2 * thread + (in_first ? 0 : 1));
      shared->before = upto - both + (in_first ? 0 : first);
      shared->inside = in_first ? first : both - first;
    }
    __syncthreads();
    wanted -= shared->before;
    from += shared->digit << shift;
    range = (1u << shift) - 1;
    // Not where the cut so far ends within the digit: then less than all is wanted of it.
    if (shared->inside == wanted) return {from + range, INT32_MAX};
    if (shift == 0) break;
  }
  // All that are left have the same distance: the lowest ids.
  const uint64_t count = (wanted + value(from) - 1) / value(from);
  const auto is_left = [&](int i) -> uint64_t { return row.Distance(row.x[i]) == from && cut.Keeps(from, i) ? 1 : 0; };
  return {from, FindId(row.width, shared, is_left, [&](uint64_t) { return count - 1; })};
}

__device__ TokenId Draw(const Row& row, const ops::DrawParams& params, uint64_t counter, DrawShared* shared) {
  ops::RankCut cut;
  if (params.top_k > 0) {
    cut = Shorten(
        row, cut, shared, [](uint32_t) { return uint64_t{1}; },
        [&](uint64_t) { return static_cast<uint64_t>(params.top_k); });
  }
  if (params.top_p < 1) {
    cut = Shorten(
        row, cut, shared, [](uint32_t distance) { return ops::WeightOf(distance); },
        [&](uint64_t total) { return ops::WeightToReach(params.top_p, total); });
  }
  const uint64_t least = ops::LeastWeight(params.min_p);
  const auto weight = [&](int i) -> uint64_t {
    const uint32_t distance = row.Distance(row.x[i]);
    if (!cut.Keeps(distance, i)) return 0;
    const uint64_t all = ops::WeightOf(distance);
    return all >= least ? all : 0;
  };
  return FindId(row.width, shared, weight,
                [&](uint64_t total) { return ops::DrawnPoint(params.seed, counter, total); });
}

__global__ void __launch_bounds__(kThreads) DrawTokens(const DrawPlan p) {
  __shared__ DrawShared shared;
  LetNextStart();
  WaitForPrevious();
  const float* x = p.logits + blockIdx.x * p.stride;
  const ops::DrawParams params = p.params[blockIdx.x];
  unsigned long long best = 0;
  ForEach(x, p.width, p.fours, [&](int i, float logit) { best = Greater()(best, Rank(logit, i)); });
  best = BlockMax(best);
  TokenId id = best == 0 ? 0 : static_cast<TokenId>(0xffffffffu - static_cast<uint32_t>(best));
  if (best != 0 && params.temperature != 0) {
    const Row row = {x, p.width, p.fours, x[id], ops::DistanceScale(params.temperature)};
    const auto counter = static_cast<uint64_t>(int64_t{p.positions[blockIdx.x]} + p.ahead);
    id = Draw(row, params, counter, &shared);
  }
  if (threadIdx.x == 0) p.ids[blockIdx.x] = id;
}

}  // namespace

void draw_tokens(ops::Backend& backend, ops::Stream stream, const ops::DrawTokensArgs& args) {
  const int64_t rows = args.logits.rows();
  if (rows == 0) return;
  Context& context = ContextOf(backend);
  const float* logits = args.logits.row<float>(0);
  const DrawPlan plan = {.logits = logits,
                         .stride = args.logits.row_stride(),
                         .width = static_cast<int>(args.logits.dim(1)),
                         .fours = FoursAligned(logits, args.logits.row_stride()),
                         .params = context.Stage(args.params, stream),
                         .positions = context.Stage(args.positions, stream),
                         .ahead = args.ahead,
                         .ids = args.ids.data()};
  Launch(&DrawTokens, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, context.stream(stream), plan);
}

}  // namespace nosa::cuda

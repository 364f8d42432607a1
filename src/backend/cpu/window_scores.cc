#include "ops/window_scores.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/window_scores.cc"
#include "backend/cpu/simd.h"

// In a block of their own, lest they are sorted before simd.h, which they need.
#include "backend/cpu/partial_merge-inl.h"
#include "backend/cpu/row_products-inl.h"

#include <cmath>
#include <vector>

#include "backend/cpu/cpu_backend.h"

#ifndef NOSA_BACKEND_CPU_WINDOW_SCORES_
#define NOSA_BACKEND_CPU_WINDOW_SCORES_
namespace nosa::cpu {

// Neighbouring rows of one sequence whose scores for one KV head are computed together, sharing the keys.
struct ScoreTask {
  int32_t row = 0;
  int32_t rows = 0;
  int32_t kv_head = 0;
};

}  // namespace nosa::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// Window keys, [tile][D][kWindowTile]: channel i of vector v of windows.
template <typename T>
struct TiledColumns {
  const T* data;
  size_t dim;
  HWY_INLINE FloatVec Load(FloatTag d, size_t i, size_t v) const {
    const size_t w = v * hn::Lanes(d);
    return LoadWide(d, data + (w / ops::kWindowTile * dim + i) * ops::kWindowTile + w % ops::kWindowTile);
  }
};

// logits[r][w] = q[r] . c[w] * scale for w < windows, rounded up to a tile.
template <size_t kRows, typename T>
void Logits(const float* const* q, size_t dim, const T* keys, size_t windows, float scale, float* logits,
            size_t width) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t tiles = (windows + ops::kWindowTile - 1) / ops::kWindowTile;
  const size_t vectors = tiles * ops::kWindowTile / lanes;
  ForVectorBlocks(vectors, [&]<size_t kVectors>(size_t first) HWY_ATTR {
    FloatVec sums[kRows][kVectors];
    // A block of vectors starts at a tile or in the middle of one: at a multiple of kVectors * lanes windows.
    const size_t w = first * lanes, tile = w / ops::kWindowTile;
    const T* data = keys + tile * dim * ops::kWindowTile + w % ops::kWindowTile;
    RowProducts<kRows, kVectors>(d, q, dim, TiledColumns<T>{data, dim}, sums);
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v)
        hn::StoreU(hn::Mul(sums[r][v], hn::Set(d, scale)), d, logits + r * width + w + v * lanes);
    }
  });
}

// logits[0 .. n) become exp(logit - max); returns their sum. Entries up to the next vector become 0.
float Exponentials(float* logits, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t whole = n / lanes * lanes;
  auto most = hn::Set(d, -INFINITY);
  for (size_t w = 0; w < whole; w += lanes) most = hn::Max(most, hn::LoadU(d, logits + w));
  if (whole < n) {
    const auto tail = hn::IfThenElse(hn::FirstN(d, n - whole), hn::LoadU(d, logits + whole), hn::Set(d, -INFINITY));
    hn::StoreU(tail, d, logits + whole);
    most = hn::Max(most, tail);
  }
  const auto max = hn::MaxOfLanes(d, most);
  auto sum = hn::Zero(d);
  for (size_t w = 0; w < n; w += lanes) {
    const auto e = ExpBelow(d, hn::Sub(hn::LoadU(d, logits + w), max));
    hn::StoreU(e, d, logits + w);
    sum = hn::Add(sum, e);
  }
  return SumLanes(d, sum);
}

// One row and KV head: p[w] = sum over heads of logits[h][w] as softmax.
void SumHeads(float* logits, size_t heads, size_t width, size_t n, float* p) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  for (size_t h = 0; h < heads; ++h) {
    const auto factor = hn::Set(d, 1.0f / Exponentials(logits + h * width, n));
    const float* row = logits + h * width;
    if (h == 0) {
      for (size_t w = 0; w < n; w += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, row + w), factor), d, p + w);
    } else {
      for (size_t w = 0; w < n; w += lanes)
        hn::StoreU(hn::MulAdd(hn::LoadU(d, row + w), factor, hn::LoadU(d, p + w)), d, p + w);
    }
  }
}

template <typename T>
void RunTask(const ops::WindowScoresArgs& args, const ScoreTask& task, Scratch& scratch) {
  const size_t group = static_cast<size_t>(args.q.dim(1) / args.kv_heads), dim = static_cast<size_t>(args.q.dim(2));
  size_t most = 0;
  for (int32_t r = 0; r < task.rows; ++r)
    most = HWY_MAX(most, static_cast<size_t>(args.rows[static_cast<size_t>(task.row + r)].windows));
  if (most == 0) return;
  const size_t width = RoundUp(most, ops::kWindowTile);
  const size_t queries = static_cast<size_t>(task.rows) * group;
  float* logits = scratch.Get<float>(queries * width);
  const int32_t state = args.rows[static_cast<size_t>(task.row)].state_begin + task.kv_head;
  const T* keys = static_cast<const T*>(args.states[static_cast<size_t>(state)].keys);

  ForRowBlocks(queries, [&]<size_t kRows>(size_t first) HWY_ATTR {
    const float* q[kRows];
    for (size_t i = 0; i < kRows; ++i) {
      const size_t r = (first + i) / group, h = (first + i) % group;
      q[i] =
          args.q.row<float>(task.row + static_cast<int64_t>(r)) + (static_cast<size_t>(task.kv_head) * group + h) * dim;
    }
    Logits<kRows>(q, dim, keys, most, args.scale, logits + first * width, width);
  });
  for (int32_t r = 0; r < task.rows; ++r) {
    const auto windows = static_cast<size_t>(args.rows[static_cast<size_t>(task.row + r)].windows);
    if (windows == 0) continue;
    SumHeads(logits + static_cast<size_t>(r) * group * width, group, width, windows,
             args.p.row<float>(task.row + r) + task.kv_head * args.p.dim(2));
  }
}

void WindowScores(const ops::WindowScoresArgs& args, const std::vector<ScoreTask>& tasks, CpuContext& context) {
  context.pool->ParallelFor(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const ScoreTask& task = tasks[static_cast<size_t>(i)];
      if (args.summary_dtype == DType::kF32) {
        RunTask<float>(args, task, context.scratch[thread]);
      } else {
        RunTask<BFloat16>(args, task, context.scratch[thread]);
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
namespace {

HWY_EXPORT(WindowScores);

// Queries (rows times heads) of a task: two full register blocks, while their logits over 8192 windows stay in L2.
constexpr int32_t kTaskQueries = 12;

std::vector<ScoreTask> Plan(const ops::WindowScoresArgs& args) {
  const auto group = static_cast<int32_t>(args.q.dim(1) / args.kv_heads);
  const auto rows = static_cast<int32_t>(args.rows.size());
  const int32_t most = std::max(1, kTaskQueries / group);
  std::vector<ScoreTask> tasks;
  for (int32_t row = 0; row < rows;) {
    int32_t n = 1;
    while (n < most && row + n < rows &&
           args.rows[static_cast<size_t>(row + n)].state_begin == args.rows[static_cast<size_t>(row)].state_begin)
      ++n;
    for (int32_t g = 0; g < args.kv_heads; ++g) tasks.push_back({row, n, g});
    row += n;
  }
  return tasks;
}

}  // namespace

void window_scores(ops::Backend& backend, ops::Stream, const ops::WindowScoresArgs& args) {
  HWY_DYNAMIC_DISPATCH(WindowScores)(args, Plan(args), ContextOf(backend));
}

}  // namespace nosa::cpu
#endif

#include "ops/pool_windows.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/pool_windows.cc"
#include "backend/cpu/simd.h"

#include "backend/cpu/cpu_backend.h"

#ifndef NOSA_BACKEND_CPU_POOL_WINDOWS_
#define NOSA_BACKEND_CPU_POOL_WINDOWS_
namespace nosa::cpu {

// Channels of a key that one task pools, so that one long prompt with few heads still uses several threads. 32 bf16
// are a cache line.
constexpr int kPoolChannels = 32;

// One task: some channels of one head of one segment.
struct PoolTask {
  const ops::PoolWindowsArgs* args;
  const ops::PoolWindowsArgs::Segment* segment;
  const ops::WindowState* state;
  int head = 0;
  int begin = 0;  // channels
  int end = 0;

  const ops::KvRow& Row(int32_t t) const {
    return args->rows[static_cast<size_t>(segment->row_begin + t) * static_cast<size_t>(args->kv_heads) +
                      static_cast<size_t>(head)];
  }
  float* Carry(int32_t stride) const {
    const int strides = args->kernel_size / args->kernel_stride;
    return state->carry + (stride % strides) * (args->head_dim + 1);
  }
};

}  // namespace nosa::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// Adds tokens [t, t + n) of the segment, which lie in one stride, to its running sums. One vector of channels at a
// time, tokens in order: the order of additions to a channel is the order of tokens whatever the cut.
template <typename T>
void AddTokens(const PoolTask& task, int32_t stride, bool fresh, int32_t t, int32_t n) {
  const FloatTag d;
  const auto lanes = static_cast<int>(FloatLanes());
  float* carry = task.Carry(stride);
  for (int c = task.begin; c < task.end; c += lanes) {
    const auto count = static_cast<size_t>(task.end - c);
    if (c + lanes <= task.end) {
      auto sum = fresh ? hn::Zero(d) : hn::LoadU(d, carry + c);
      for (int32_t i = 0; i < n; ++i) sum = hn::Add(sum, LoadWide(d, static_cast<const T*>(task.Row(t + i).k) + c));
      hn::StoreU(sum, d, carry + c);
    } else {
      auto sum = fresh ? hn::Zero(d) : LoadWideN(d, carry + c, count);
      for (int32_t i = 0; i < n; ++i)
        sum = hn::Add(sum, LoadWideN(d, static_cast<const T*>(task.Row(t + i).k) + c, count));
      StoreWideN(d, sum, carry + c, count);
    }
  }
  if (task.begin == 0 && task.state->sigma != nullptr) {
    float& sum = carry[task.args->head_dim];
    if (fresh) sum = 0;
    for (int32_t i = 0; i < n; ++i) {
      const float* s = task.Row(t + i).s;
      sum += s == nullptr ? 0.0f : *s;
    }
  }
}

// Window `window` is complete: its mean from the sums of its strides, in order.
template <typename T>
void EmitWindow(const PoolTask& task, int32_t window) {
  const ops::PoolWindowsArgs& args = *task.args;
  const int strides = args.kernel_size / args.kernel_stride;
  const auto size = static_cast<float>(args.kernel_size);
  T* keys = static_cast<T*>(task.state->keys) +
            static_cast<int64_t>(window / ops::kWindowTile) * args.head_dim * ops::kWindowTile +
            window % ops::kWindowTile;
  for (int c = task.begin; c < task.end; ++c) {
    float total = task.Carry(window)[c];
    for (int i = 1; i < strides; ++i) total += task.Carry(window + i)[c];
    StoreFloat(keys, sizeof(T) == 4 ? DType::kF32 : DType::kBF16, static_cast<size_t>(c) * ops::kWindowTile,
               total / size);
  }
  if (task.begin == 0 && task.state->sigma != nullptr) {
    float total = task.Carry(window)[args.head_dim];
    for (int i = 1; i < strides; ++i) total += task.Carry(window + i)[args.head_dim];
    task.state->sigma[window] = total / size;
  }
}

void RunTask(const PoolTask& task) {
  const ops::PoolWindowsArgs& args = *task.args;
  const int32_t st = args.kernel_stride;
  for (int32_t t = 0; t < task.segment->tokens;) {
    const int32_t pos = task.segment->first_pos + t, within = pos % st;
    const int32_t n = HWY_MIN(st - within, task.segment->tokens - t);
    if (args.kv_dtype == DType::kF32) {
      AddTokens<float>(task, pos / st, within == 0, t, n);
    } else {
      AddTokens<BFloat16>(task, pos / st, within == 0, t, n);
    }
    t += n;
    if (within + n < st || pos + n < args.kernel_size) continue;
    const int32_t window = (pos + n - args.kernel_size) / st;
    if (args.summary_dtype == DType::kF32) {
      EmitWindow<float>(task, window);
    } else {
      EmitWindow<BFloat16>(task, window);
    }
  }
}

void PoolWindows(const ops::PoolWindowsArgs& args, ThreadPool& pool) {
  const int64_t chunks = CeilDiv(args.head_dim, kPoolChannels);
  const int64_t per_segment = chunks * args.kv_heads;
  const auto tasks = static_cast<int64_t>(args.segments.size()) * per_segment;
  double tokens = 0;
  for (const auto& segment : args.segments) tokens += segment.tokens;
  // Decode (a token a segment) stays on the caller up to some hundred tasks.
  const int64_t grain = tokens > 4.0 * static_cast<double>(args.segments.size()) ? 1 : 128;
  pool.ParallelFor(tasks, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& segment = args.segments[static_cast<size_t>(i / per_segment)];
      const int head = static_cast<int>(i % per_segment / chunks);
      const int channel = static_cast<int>(i % chunks) * kPoolChannels;
      RunTask({&args, &segment, &args.states[static_cast<size_t>(segment.state_begin + head)], head, channel,
               HWY_MIN(channel + kPoolChannels, args.head_dim)});
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(PoolWindows);

void pool_windows(ops::Backend& backend, ops::Stream, const ops::PoolWindowsArgs& args) {
  HWY_DYNAMIC_DISPATCH(PoolWindows)(args, *ContextOf(backend).pool);
}

}  // namespace nosa::cpu
#endif

#include "ops/merge_states.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/merge_states.cc"
#include "backend/cpu/simd.h"

// In a block of their own, lest they are sorted before simd.h, which they need.
#include "backend/cpu/partial_merge-inl.h"

#include <cmath>

#include "backend/cpu/cpu_backend.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// body(i, n): channels [i, i + n), n = Lanes() but for the last.
template <typename Body>
HWY_INLINE void ForChannels(size_t count, Body body) {
  const size_t lanes = FloatLanes();
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) body(i, lanes);
  if (i < count) body(i, count - i);
}
HWY_INLINE FloatVec LoadSome(FloatTag d, const float* p, size_t n) {
  return n == FloatLanes() ? hn::LoadU(d, p) : LoadWideN(d, p, n);
}
HWY_INLINE void StoreSome(FloatTag d, FloatVec v, float* p, size_t n) {
  n == FloatLanes() ? hn::StoreU(v, d, p) : StoreWideN(d, v, p, n);
}

// One query head: merges its parts in order, the running accumulator in `out`.
void MergeHead(const ops::PartialStates& states, const int32_t* order, size_t parts, int64_t h, float* out) {
  const FloatTag d;
  const auto channels = static_cast<size_t>(states.v_dim);
  float m = -INFINITY;
  auto l = hn::Zero(d);
  for (size_t part = 0; part < parts; ++part) {
    const int64_t i = order[part] * static_cast<int64_t>(states.heads) + h;
    const float* acc = states.acc + i * states.v_dim;
    if (states.m[i] == -INFINITY) continue;
    if (m == -INFINITY) {
      m = states.m[i];
      l = hn::Set(d, states.l[i]);
      ForChannels(channels, [&](size_t c, size_t n) { StoreSome(d, LoadSome(d, acc + c, n), out + c, n); });
      continue;
    }
    const MergeFactors f = FactorsOf(d, hn::Set(d, m), hn::Set(d, states.m[i]));
    m = hn::GetLane(f.m);
    l = MergeValues(l, f.first, hn::Set(d, states.l[i]), f.second);
    ForChannels(channels, [&](size_t c, size_t n) {
      StoreSome(d, MergeValues(LoadSome(d, out + c, n), f.first, LoadSome(d, acc + c, n), f.second), out + c, n);
    });
  }
  const bool empty = m == -INFINITY;
  ForChannels(channels, [&](size_t c, size_t n) {
    StoreSome(d, empty ? hn::Zero(d) : hn::Div(LoadSome(d, out + c, n), l), out + c, n);
  });
}

void MergeStates(const ops::MergeStatesArgs& args, ThreadPool& pool) {
  const int64_t heads = args.states.heads, lists = args.out.rows() * args.kv_heads;
  if (lists == 0) return;
  // About 4096 vectors of work a piece, some microseconds.
  const int64_t per_head = (static_cast<int64_t>(args.order.size()) / lists + 1) * (args.states.v_dim / 16 + 4);
  pool.ParallelFor(lists * heads, HWY_MAX(int64_t{1}, 4096 / per_head), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t list = i / heads, h = i % heads;
      const int64_t r = list / args.kv_heads, g = list % args.kv_heads;
      const int32_t first = args.offsets[static_cast<size_t>(list)], last = args.offsets[static_cast<size_t>(list) + 1];
      MergeHead(args.states, args.order.data() + first, static_cast<size_t>(last - first), h,
                args.out.row<float>(r) + (g * heads + h) * args.states.v_dim);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(MergeStates);

void merge_states(ops::Backend& backend, ops::Stream, const ops::MergeStatesArgs& args) {
  HWY_DYNAMIC_DISPATCH(MergeStates)(args, *ContextOf(backend).pool);
}

}  // namespace nosa::cpu
#endif

#include "ops/store_kv.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/store_kv.cc"
#include "backend/cpu/simd.h"

#include "backend/cpu/cpu_backend.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

template <typename T>
void Narrow(const float* from, void* to, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  T* out = static_cast<T*>(to);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) StoreWide(d, hn::LoadU(d, from + i), out + i);
  if (i < n) StoreWideN(d, LoadWideN(d, from + i, n - i), out + i, n - i);
}

template <typename T>
void StoreRows(const ops::StoreKvArgs& args, int64_t begin, int64_t end) {
  const int64_t heads = args.k.dim(1), k_dim = args.k.dim(2), v_dim = args.v.dim(2);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t m = i / heads, g = i % heads;
    const ops::KvRow& row = args.rows[static_cast<size_t>(i)];
    Narrow<T>(args.k.row<float>(m) + g * k_dim, row.k, static_cast<size_t>(k_dim));
    Narrow<T>(args.v.row<float>(m) + g * v_dim, row.v, static_cast<size_t>(v_dim));
    if (row.s != nullptr) *row.s = args.s.empty() ? 0.0f : args.s.row<float>(m)[g];
  }
}

void StoreKv(const ops::StoreKvArgs& args, ThreadPool& pool) {
  // A row takes some 20 ns; a fork costs microseconds.
  pool.ParallelFor(static_cast<int64_t>(args.rows.size()), 128, [&](int64_t begin, int64_t end, int) {
    if (args.dtype == DType::kF32) {
      StoreRows<float>(args, begin, end);
    } else {
      StoreRows<BFloat16>(args, begin, end);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(StoreKv);

void store_kv(ops::Backend& backend, ops::Stream, const ops::StoreKvArgs& args) {
  HWY_DYNAMIC_DISPATCH(StoreKv)(args, *ContextOf(backend).pool);
}

}  // namespace nosa::cpu
#endif

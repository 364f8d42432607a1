#include "ops/embed.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/embed.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
template <typename T>
HWY_INLINE void WidenRow(const T* from, float* to, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) StoreWide(d, LoadWide(d, from + i), to + i);
  if (i < n) StoreWideN(d, LoadWideN(d, from + i, n - i), to + i, n - i);
}

void EmbedRows(const ops::EmbedArgs& args, int64_t begin, int64_t end) {
  const size_t width = static_cast<size_t>(args.y.dim(1));
  for (int64_t m = begin; m < end; ++m) {
    const int64_t id = args.ids[static_cast<size_t>(m)];
    if (args.table.dtype() == DType::kF32) {
      WidenRow(args.table.row<float>(id), args.y.row<float>(m), width);
    } else {
      WidenRow(args.table.row<BFloat16>(id), args.y.row<float>(m), width);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(EmbedRows);

void embed(ops::Backend& backend, ops::Stream, const ops::EmbedArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(EmbedRows);
  ContextOf(backend).pool->ParallelFor(args.y.rows(), RowsPerGrain(args.y.dim(1)),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif

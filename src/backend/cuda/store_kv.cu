#include "ops/store_kv.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kWarps = 4;  // of a block

struct StoreShape {
  int64_t rows;  // tokens * heads
  int heads, k_dim, v_dim;
  int64_t k_stride, v_stride, s_stride;  // from token to token
};

template <typename T>
__device__ void StoreRow(const float* from, T* to, int width, int lane) {
  int i = lane;
  if (FoursAligned(from, 0) && FoursAligned(to, 0)) {
    for (; i < width / 4; i += kWarpSize) Store4(to + 4 * i, Load4(from + 4 * i));
    i = width / 4 * 4 + lane;
  }
  for (; i < width; i += kWarpSize) StoreFloat(to, i, from[i]);
}

// A warp a token and head.
template <typename T>
__global__ void StoreKv(const float* k, const float* v, const float* s, const ops::KvRow* rows, StoreShape shape) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  if (i >= shape.rows) return;
  const int64_t token = i / shape.heads, head = i % shape.heads;
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
  const ops::KvRow row = rows[i];
  StoreRow(k + token * shape.k_stride + head * shape.k_dim, static_cast<T*>(row.k), shape.k_dim, lane);
  StoreRow(v + token * shape.v_stride + head * shape.v_dim, static_cast<T*>(row.v), shape.v_dim, lane);
  if (lane == 0 && row.s != nullptr) *row.s = s == nullptr ? 0.0f : s[token * shape.s_stride + head];
}

}  // namespace

void store_kv(ops::Backend& backend, ops::Stream stream, const ops::StoreKvArgs& args) {
  const StoreShape shape = {static_cast<int64_t>(args.rows.size()),
                            static_cast<int>(args.k.dim(1)),
                            static_cast<int>(args.k.dim(2)),
                            static_cast<int>(args.v.dim(2)),
                            args.k.row_stride(),
                            args.v.row_stride(),
                            args.s.row_stride()};
  if (shape.rows == 0) return;
  Context& context = ContextOf(backend);
  const ops::KvRow* rows = context.Stage(args.rows, stream);
  const float* s = args.s.empty() ? nullptr : args.s.row<float>(0);
  DispatchFloat(args.dtype, [&]<typename T>() {
    StoreKv<T><<<GridFor(shape.rows, kWarps), kWarps * kWarpSize, 0, context.stream(stream)>>>(
        args.k.row<float>(0), args.v.row<float>(0), s, rows, shape);
  });
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda

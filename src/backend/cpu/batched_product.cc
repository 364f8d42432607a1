#include "backend/cpu/batched_product.h"

#include <omp.h>

#include <algorithm>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/round_rows.h"

namespace nosa::cpu {
namespace {

// Primitives kept; more shapes than this means chunks of ever new lengths, and all are made anew.
constexpr size_t kMaxPrimitives = 512;

// Below this much work a fork costs more than it saves (2 MFLOP: 5 to 10 us of one core).
constexpr double kForkFlops = 2e6;

// Slices of y start at multiples of this many columns: oneDNN's widest block of columns.
constexpr int64_t kColumnUnit = 64;

// What a primitive depends on.
struct Key {
  DType dtype = DType::kF32;
  bool accumulate = false;
  int64_t m = 0, n = 0, k = 0;
  int64_t x_stride = 0, w_stride = 0, y_stride = 0;  // elements
  friend auto operator<=>(const Key&, const Key&) = default;
};

struct Primitive {
  dnnl::memory::desc x, w, y, scratch;
  size_t scratch_bytes = 0;
  dnnl::matmul run;
};

// Part of one term's y: one primitive run.
struct Slice {
  const Primitive* primitive = nullptr;
  const void* x = nullptr;
  const void* w = nullptr;
  void* y = nullptr;
};

// How a term's y is cut: slices of so many rows and columns.
struct SliceShape {
  int64_t rows = 0;
  int64_t columns = 0;
};

int64_t ColumnsPerSlice(int64_t n, int64_t slices) {
  return static_cast<int64_t>(RoundUp(static_cast<uint64_t>(CeilDiv(n, slices)), kColumnUnit));
}

// One slice a thread. Each slice brings its rows of x and of w into oneDNN's layout for itself, so the best cut is the
// one whose slices have the smallest half circumference.
SliceShape ChooseShape(int64_t m, int64_t n, int threads) {
  SliceShape best = {m, n};
  int64_t best_sum = INT64_MAX;
  for (int64_t down = 1; down <= threads; ++down) {
    if (threads % down != 0) continue;
    const SliceShape shape = {CeilDiv(m, down), ColumnsPerSlice(n, threads / down)};
    if (shape.rows + shape.columns >= best_sum) continue;
    best = shape;
    best_sum = shape.rows + shape.columns;
  }
  return best;
}

Primitive MakePrimitive(const dnnl::engine& engine, const Key& key) {
  using dnnl::memory;
  const auto inputs = key.dtype == DType::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
  Primitive made;
  made.x = memory::desc({key.m, key.k}, inputs, memory::dims{key.x_stride, 1});
  made.w = memory::desc({key.k, key.n}, inputs, memory::dims{1, key.w_stride});
  made.y = memory::desc({key.m, key.n}, memory::data_type::f32, memory::dims{key.y_stride, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (key.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(made.x, made.w, made.y), attributes, engine);
  made.scratch = description.scratchpad_desc();
  made.scratch_bytes = made.scratch.get_size();
  made.run = dnnl::matmul(description);
  return made;
}

}  // namespace

struct BatchedProduct::Impl {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::vector<dnnl::stream> streams;  // [threads]
  std::map<Key, Primitive> primitives;

  // Null when this machine has no such product.
  const Primitive* Find(const Key& key) {
    if (const auto found = primitives.find(key); found != primitives.end()) return &found->second;
    try {
      return &primitives.emplace(key, MakePrimitive(engine, key)).first->second;
    } catch (const dnnl::error& error) {
      NOSA_CHECK(error.status == dnnl_unimplemented && key.dtype == DType::kBF16,
                 "oneDNN refused a {} product [{}, {}] x [{}, {}]: {}", DTypeName(key.dtype), key.m, key.k, key.k,
                 key.n, error.what());
      return nullptr;
    }
  }

  // Cuts a term into slices. False when there is no primitive for one.
  bool AppendSlices(const ConstTensorView& x, const ops::ProductArgs::Term& term, SliceShape shape,
                    std::vector<Slice>& slices) {
    for (int64_t m = 0; m < x.rows(); m += shape.rows) {
      for (int64_t n = 0; n < term.w.rows(); n += shape.columns) {
        const Primitive* primitive = Find({.dtype = term.w.dtype(),
                                           .accumulate = term.accumulate,
                                           .m = std::min(shape.rows, x.rows() - m),
                                           .n = std::min(shape.columns, term.w.rows() - n),
                                           .k = x.dim(1),
                                           .x_stride = x.row_stride(),
                                           .w_stride = term.w.row_stride(),
                                           .y_stride = term.y.row_stride()});
        if (primitive == nullptr) return false;
        slices.push_back({primitive, x.row_bytes(m), term.w.row_bytes(n), term.y.row<float>(m) + n});
      }
    }
    return true;
  }

  void RunSlice(const Slice& slice, Scratch& scratch, int thread) {
    omp_set_num_threads(1);  // a setting of the calling thread, which oneDNN obeys
    const Primitive& primitive = *slice.primitive;
    const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, engine, const_cast<void*>(data));
    };
    try {
      primitive.run.execute(streams[static_cast<size_t>(thread)],
                            {{DNNL_ARG_SRC, memory(primitive.x, slice.x)},
                             {DNNL_ARG_WEIGHTS, memory(primitive.w, slice.w)},
                             {DNNL_ARG_DST, memory(primitive.y, slice.y)},
                             {DNNL_ARG_SCRATCHPAD, memory(primitive.scratch, scratch.Get(primitive.scratch_bytes))}});
    } catch (const dnnl::error& error) {
      NOSA_CHECK(false, "oneDNN failed: {}", error.what());
    }
  }
};

BatchedProduct::BatchedProduct() : impl_(std::make_unique<Impl>()) {}
BatchedProduct::~BatchedProduct() = default;

bool BatchedProduct::Run(CpuContext& context, const ops::ProductArgs& args) {
  if (args.x.empty()) return false;  // no rows, or no inputs and so zeros: not oneDNN's business
  omp_set_num_threads(1);            // primitives are planned for it
  if (impl_->primitives.size() > kMaxPrimitives) impl_->primitives.clear();
  while (impl_->streams.size() < static_cast<size_t>(context.pool->size())) impl_->streams.emplace_back(impl_->engine);

  // x as bf16 weights see it: as it is, or rounded.
  const bool round =
      args.x.dtype() == DType::kF32 && std::any_of(args.terms.begin(), args.terms.end(),
                                                   [](const auto& term) { return term.w.dtype() == DType::kBF16; });
  BFloat16* rounded = round ? context.shared->Get<BFloat16>(static_cast<size_t>(args.x.shape().elements())) : nullptr;
  const ConstTensorView bf16_x = round ? ConstTensorView(rounded, DType::kBF16, args.x.shape()) : args.x;
  const bool fork = ops::Cost(args).flops >= kForkFlops;
  const int threads = fork ? context.pool->size() : 1;
  std::vector<Slice> slices;
  for (const auto& term : args.terms) {
    const SliceShape shape = ChooseShape(args.x.rows(), term.w.rows(), threads);
    const ConstTensorView& x = term.w.dtype() == DType::kBF16 ? bf16_x : args.x;
    if (!impl_->AppendSlices(x, term, shape, slices)) return false;
  }
  if (round) RoundRows(context, args.x, rounded);
  const int64_t count = static_cast<int64_t>(slices.size());
  context.pool->ParallelFor(count, fork ? 1 : count, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i)
      impl_->RunSlice(slices[static_cast<size_t>(i)], context.scratch[thread], thread);
  });
  return true;
}

}  // namespace nosa::cpu

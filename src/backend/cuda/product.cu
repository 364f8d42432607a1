#include "ops/product.h"

#include <algorithm>
#include <array>

#include "backend/cuda/batched_product.h"
#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"
#include "backend/cuda/rowwise_product.h"
#include "base/bytes.h"

namespace nosa::cuda {
namespace {

// Rounded rows start at multiples of this many elements, and are zero up to there.
// 16 bytes, and no more: rows that arrive rounded lie as close, and cuBLAS then chooses the same for both.
constexpr int64_t kRoundedUnit = 8;

// Rows along x, a row's groups of four elements shared out along y.
template <typename X>
__global__ void RoundRows(const X* x, BFloat16* to, int64_t x_stride, int to_stride, int width, bool fours) {
  LetNextStart();
  WaitForPrevious();
  x += blockIdx.x * x_stride;
  to += static_cast<int64_t>(blockIdx.x) * to_stride;
  const int i = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * 4;
  if (i >= to_stride) return;
  const auto at = [&](int j) { return j < width ? ToFloat(x[j]) : 0.0f; };
  Store4(to + i, fours && i + 4 <= width ? Load4(x + i) : make_float4(at(i), at(i + 1), at(i + 2), at(i + 3)));
}

template <typename X>
RowwiseInputs<BFloat16> Round(Context& context, ops::Stream stream, const RowwiseInputs<X>& inputs) {
  const auto stride = static_cast<int>(RoundUp(static_cast<uint64_t>(inputs.width), kRoundedUnit));
  const size_t bytes = static_cast<size_t>(inputs.rows) * static_cast<size_t>(stride) * sizeof(BFloat16);
  auto* to = static_cast<BFloat16*>(context.Scratch(bytes, stream));
  constexpr int kThreads = 256;
  Launch(&RoundRows<X>, dim3(static_cast<unsigned>(inputs.rows), GridFor(stride, kThreads * 4)), dim3(kThreads), 0,
         context.stream(stream), inputs.x, to, inputs.stride, stride, inputs.width,
         FoursAligned(inputs.x, inputs.stride));
  return {to, stride, inputs.rows, inputs.width};
}

// Rows that are bf16 already, as the kernels want them: where they lie, or else copied.
RowwiseInputs<BFloat16> AsRounded(Context& context, ops::Stream stream, const RowwiseInputs<BFloat16>& inputs) {
  const bool aligned = reinterpret_cast<uintptr_t>(inputs.x) % 16 == 0 && inputs.stride % kRoundedUnit == 0;
  return aligned && inputs.width % kRoundedUnit == 0 ? inputs : Round(context, stream, inputs);
}

// One call: x in both types, and the terms that are left for the row-wise kernels.
class Product {
 public:
  Product(Context& context, ops::Stream stream, const ops::ProductArgs& args)
      : context_(context),
        stream_(stream),
        args_(args),
        rows_(static_cast<int>(args.x.rows())),
        width_(static_cast<int>(args.x.dim(1))) {
    if (args.x.dtype() == DType::kF32) {
      inputs_ = {args.x.row<float>(0), args.x.row_stride(), rows_, width_};
    } else {
      rounded_ = AsRounded(context, stream, {args.x.row<BFloat16>(0), args.x.row_stride(), rows_, width_});
    }
  }

  void Run() {
    const bool batched = args_.mode == ops::ProductArgs::Mode::kBatched && rows_ > kFewRows;
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      std::array<RowwiseTerm, kMaxRowwiseTerms> left;
      size_t count = 0;
      for (size_t i = 0; i < args_.terms.size(); ++i) {
        ops::ProductArgs::Term term = args_.terms[i];
        if (term.w.dtype() != dtype || term.w.rows() == 0) continue;
        while (i + 1 < args_.terms.size() && Continues(term, args_.terms[i + 1])) term = Join(term, args_.terms[++i]);
        if (batched && RunBatched(term)) continue;
        left[count++] = {.w = term.w.bytes(),
                         .y = term.y.row<float>(0),
                         .w_stride = term.w.row_stride(),
                         .y_stride = term.y.row_stride(),
                         .columns = static_cast<int>(term.w.rows()),
                         .accumulate = term.accumulate};
        if (count < left.size()) continue;
        RunRowwise(dtype, left);
        count = 0;
      }
      if (count > 0) RunRowwise(dtype, std::span(left).first(count));
    }
  }

 private:
  // Whether `next` is the matrix and the columns right after those of `term`: together they are one larger product,
  // which fills the device better.
  static bool Continues(const ops::ProductArgs::Term& term, const ops::ProductArgs::Term& next) {
    const size_t w_bytes = static_cast<size_t>(term.w.rows() * term.w.row_stride()) * DTypeBytes(term.w.dtype());
    return next.w.dtype() == term.w.dtype() && next.accumulate == term.accumulate && next.w.rows() > 0 &&
           next.w.row_stride() == term.w.row_stride() && next.w.bytes() == term.w.bytes() + w_bytes &&
           next.y.row_stride() == term.y.row_stride() && next.y.row<float>(0) == term.y.row<float>(0) + term.y.dim(1);
  }
  static ops::ProductArgs::Term Join(const ops::ProductArgs::Term& term, const ops::ProductArgs::Term& next) {
    return {
        ConstTensorView(term.w.bytes(), term.w.dtype(), {term.w.rows() + next.w.rows(), term.w.dim(1)},
                        term.w.row_stride()),
        TensorView(term.y.bytes(), DType::kF32, {term.y.rows(), term.y.dim(1) + next.y.dim(1)}, term.y.row_stride()),
        term.accumulate};
  }
  // Once a call.
  const RowwiseInputs<BFloat16>& rounded() {
    if (rounded_.x == nullptr) rounded_ = Round(context_, stream_, inputs_);
    return rounded_;
  }

  bool RunBatched(const ops::ProductArgs::Term& term) {
    const bool round = term.w.dtype() == DType::kBF16;
    return context_.batched_product().Run(context_, stream_,
                                          {.dtype = term.w.dtype(),
                                           .m = rows_,
                                           .n = term.w.rows(),
                                           .k = width_,
                                           .x = round ? static_cast<const void*>(rounded().x) : inputs_.x,
                                           .w = term.w.bytes(),
                                           .y = term.y.row<float>(0),
                                           .x_stride = round ? rounded().stride : inputs_.stride,
                                           .w_stride = term.w.row_stride(),
                                           .y_stride = term.y.row_stride(),
                                           .accumulate = term.accumulate});
  }

  void RunRowwise(DType dtype, std::span<const RowwiseTerm> terms) {
    if (dtype == DType::kF32) return RowwiseF32(context_, stream_, inputs_, terms);
    // Few rows are rounded where they are used: a launch less.
    if (rounded_.x == nullptr && RowwiseBf16(context_, stream_, inputs_, terms)) return;
    RowwiseBf16(context_, stream_, rounded(), terms);
  }

  Context& context_;
  ops::Stream stream_;
  const ops::ProductArgs& args_;
  int rows_, width_;
  RowwiseInputs<float> inputs_;      // of an x in bf16: none, and no term wants them
  RowwiseInputs<BFloat16> rounded_;  // none yet, or x
};

// Products without inputs.
void Clear(cudaStream_t stream, const ops::ProductArgs& args) {
  for (const ops::ProductArgs::Term& term : args.terms) {
    if (term.accumulate || term.y.empty()) continue;
    NOSA_CUDA_CHECK(cudaMemset2DAsync(term.y.row<float>(0), static_cast<size_t>(term.y.row_stride()) * sizeof(float), 0,
                                      static_cast<size_t>(term.y.dim(1)) * sizeof(float),
                                      static_cast<size_t>(term.y.rows()), stream));
  }
}

}  // namespace

void product(ops::Backend& backend, ops::Stream stream, const ops::ProductArgs& args) {
  Context& context = ContextOf(backend);
  if (args.x.rows() == 0) return;
  if (args.x.dim(1) == 0) return Clear(context.stream(stream), args);
  Product(context, stream, args).Run();
}

}  // namespace nosa::cuda

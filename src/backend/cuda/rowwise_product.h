// Products whose rows do not know of one another: ops::ProductArgs::Mode::kRowwise, and whatever cuBLAS refuses.
#pragma once

#include <cstdint>
#include <span>

#include "backend/cuda/context.h"
#include "tensor/dtype.h"

namespace nosa::cuda {

// Terms of one launch; a layer's q, k and v, or its gate and up, need no more.
inline constexpr int kMaxRowwiseTerms = 4;

// Rows up to which a product costs what reading its weights costs.
inline constexpr int64_t kFewRows = 8;

// y [rows, columns] = x W^T, or y += with `accumulate`.
struct RowwiseTerm {
  const void* w = nullptr;  // [columns, width]
  float* y = nullptr;
  int64_t w_stride = 0, y_stride = 0;  // elements from row to row
  int columns = 0;
  bool accumulate = false;
  int first_tile = 0;  // filled by the launch: its tiles of columns start here
};

template <typename X>
struct RowwiseInputs {
  const X* x = nullptr;  // [rows, width]
  int64_t stride = 0;    // elements from row to row
  int rows = 0, width = 0;
};

// At most kMaxRowwiseTerms terms, none of them empty; rows and width are above 0. In all of them the sum of an element
// of y is taken in an order that only `width` decides: its bits depend on its row of x and of W alone.
//
// W in bf16, inputs that are rounded already: rows of x start at multiples of 16 bytes and are zero from `width` to a
// multiple of 8.
void RowwiseBf16(Context& context, ops::Stream stream, const RowwiseInputs<BFloat16>& inputs,
                 std::span<const RowwiseTerm> terms);
// The same with inputs that it rounds itself, for kFewRows rows at most. False, and nothing done, unless everything
// can be loaded 8 elements at a time.
bool RowwiseBf16(Context& context, ops::Stream stream, const RowwiseInputs<float>& inputs,
                 std::span<const RowwiseTerm> terms);
// W in f32.
void RowwiseF32(Context& context, ops::Stream stream, const RowwiseInputs<float>& inputs,
                std::span<const RowwiseTerm> terms);

// What the kernels get: the terms by value.
template <typename X>
struct RowwiseLaunch {
  RowwiseInputs<X> inputs;
  RowwiseTerm terms[kMaxRowwiseTerms];
  int count = 0;
  int tiles = 0;  // of all terms
};

template <typename X>
RowwiseLaunch<X> MakeRowwiseLaunch(const RowwiseInputs<X>& inputs, std::span<const RowwiseTerm> terms,
                                   int tile_columns) {
  NOSA_CHECK(terms.size() <= kMaxRowwiseTerms, "{} terms in a launch of {}", terms.size(), kMaxRowwiseTerms);
  RowwiseLaunch<X> launch;
  launch.inputs = inputs;
  for (const RowwiseTerm& term : terms) {
    RowwiseTerm& to = launch.terms[launch.count++];
    to = term;
    to.first_tile = launch.tiles;
    launch.tiles += static_cast<int>(CeilDiv(term.columns, tile_columns));
  }
  return launch;
}

}  // namespace nosa::cuda

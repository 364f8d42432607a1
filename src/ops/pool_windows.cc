#include "ops/pool_windows.h"

namespace nosa::ops {
namespace {

bool IsStored(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

}  // namespace

void Check(const PoolWindowsArgs& args) {
  NOSA_CHECK(args.kv_heads > 0 && args.head_dim > 0, "expected heads and a head size, found {} and {}", args.kv_heads,
             args.head_dim);
  NOSA_CHECK(args.kernel_stride > 0 && args.kernel_size > 0 && args.kernel_size % args.kernel_stride == 0,
             "expected a window that is a multiple of its stride {}, found {}", args.kernel_stride, args.kernel_size);
  NOSA_CHECK(IsStored(args.kv_dtype) && IsStored(args.summary_dtype),
             "expected f32 or bf16, found keys {} and summaries {}", DTypeName(args.kv_dtype),
             DTypeName(args.summary_dtype));
  const auto heads = static_cast<size_t>(args.kv_heads);
  for (const PoolWindowsArgs::Segment& segment : args.segments) {
    NOSA_CHECK(segment.first_pos >= 0 && segment.tokens >= 0 && segment.row_begin >= 0 && segment.state_begin >= 0,
               "a segment of {} tokens from {} with row {} and state {}", segment.tokens, segment.first_pos,
               segment.row_begin, segment.state_begin);
    const size_t row_end = (static_cast<size_t>(segment.row_begin) + static_cast<size_t>(segment.tokens)) * heads;
    NOSA_CHECK(row_end <= args.rows.size(), "a segment ends at row {}, there are {}", row_end, args.rows.size());
    const size_t state_end = static_cast<size_t>(segment.state_begin) + heads;
    NOSA_CHECK(state_end <= args.states.size(), "a segment ends at state {}, there are {}", state_end,
               args.states.size());
  }
  for (const WindowState& state : args.states) {
    NOSA_CHECK(state.keys != nullptr && state.carry != nullptr, "a window state has no {}",
               state.keys ? "carry" : "keys");
  }
}

OpCost Cost(const PoolWindowsArgs& args) {
  double tokens = 0;
  for (const PoolWindowsArgs::Segment& segment : args.segments) tokens += segment.tokens;
  const double numbers = tokens * args.kv_heads * (args.head_dim + 1);
  const double windows = numbers / args.kernel_stride;
  const double strides = static_cast<double>(args.kernel_size) / args.kernel_stride;
  return {.bytes = numbers * static_cast<double>(DTypeBytes(args.kv_dtype)) +
                   windows * static_cast<double>(DTypeBytes(args.summary_dtype)),
          .flops = numbers + windows * strides};
}

}  // namespace nosa::ops

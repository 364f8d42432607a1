#include "ops/window_scores.h"

namespace nosa::ops {

void Check(const WindowScoresArgs& args) {
  NOSA_CHECK(args.q.shape().rank() == 3 && args.q.dtype() == DType::kF32, "expected q f32 [R, H, D], found {} {}",
             DTypeName(args.q.dtype()), args.q.shape().ToString());
  const int64_t rows = args.q.dim(0), heads = args.q.dim(1);
  NOSA_CHECK(args.kv_heads > 0 && heads % args.kv_heads == 0, "expected {} query heads as a multiple of {} KV heads",
             heads, args.kv_heads);
  NOSA_CHECK(static_cast<int64_t>(args.rows.size()) == rows, "expected {} rows as q has, found {}", rows,
             args.rows.size());
  NOSA_CHECK(args.summary_dtype == DType::kF32 || args.summary_dtype == DType::kBF16,
             "expected summaries of f32 or bf16, found {}", DTypeName(args.summary_dtype));
  NOSA_CHECK(args.p.shape().rank() == 3 && args.p.dtype() == DType::kF32 && args.p.dim(0) == rows &&
                 args.p.dim(1) == args.kv_heads,
             "expected p f32 [{}, {}, Wmax], found {} {}", rows, args.kv_heads, DTypeName(args.p.dtype()),
             args.p.shape().ToString());
  const int64_t width = args.p.dim(2);
  NOSA_CHECK(width % kWindowTile == 0, "expected p's width as a multiple of {}, found {}", kWindowTile, width);
  for (const WindowScoresArgs::Row& row : args.rows) {
    NOSA_CHECK(row.windows >= 0 && row.windows <= width, "a row sees {} windows, p has room for {}", row.windows,
               width);
    NOSA_CHECK(row.state_begin >= 0 &&
                   static_cast<size_t>(row.state_begin) + static_cast<size_t>(args.kv_heads) <= args.states.size(),
               "a row's {} states begin at {}, there are {}", args.kv_heads, row.state_begin, args.states.size());
  }
}

OpCost Cost(const WindowScoresArgs& args) {
  double windows = 0;
  for (const WindowScoresArgs::Row& row : args.rows) windows += row.windows;
  const double heads = static_cast<double>(args.q.dim(1)), dim = static_cast<double>(args.q.dim(2));
  const double keys = windows * args.kv_heads * dim * static_cast<double>(DTypeBytes(args.summary_dtype));
  return {.bytes = keys + windows * args.kv_heads * 4, .flops = windows * heads * (2 * dim + 4)};
}

}  // namespace nosa::ops

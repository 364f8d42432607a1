// Which blocks one query of one KV head reads: docs/nosa.md, "Two scores per block" and "Selection".
#pragma once

#include <cstdint>
#include <vector>

#include "reference_model.h"

namespace nosa::reference {

// Everything the choice depends on, for one layer, KV head and position. All borrowed.
struct SelectionInput {
  Mode mode = Mode::kNosa;
  schema::SparseConfig sparse;
  TokenPos t = 0;             // position of the query
  int group = 0;              // query heads of this KV head
  int head_dim = 0;           // D
  const double* q = nullptr;  // [group, D], rotated
  const double* c = nullptr;  // window means of k: window w at c + w * c_stride, D values
  size_t c_stride = 0;
  const double* sigma = nullptr;  // window means of s: window w at sigma[w * sigma_stride]; null without importance
  size_t sigma_stride = 0;
};

struct Choice {
  std::vector<uint8_t> selected;  // [t / B + 1]
  Boundary query, importance;
};

// Windows whose last token is at or before t.
int VisibleWindows(const schema::SparseConfig& sparse, TokenPos t);

Choice SelectBlocks(const SelectionInput& in);

}  // namespace nosa::reference

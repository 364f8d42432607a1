// One decoder layer over a run of tokens of one sequence, with its cache.
#pragma once

#include <vector>

#include "base/function_ref.h"
#include "reference_model.h"
#include "reference_selection.h"
#include "reference_weights.h"

namespace nosa::reference {

// What one layer keeps of a sequence of T tokens and W complete windows.
struct LayerCache {
  std::vector<double> k, v;   // [T, G, D], k rotated
  std::vector<double> s;      // [T, G]; empty without importance
  std::vector<double> c;      // [W, G, D]
  std::vector<double> sigma;  // [W, G]
};

// Fixed for a session.
struct LayerSettings {
  Mode mode = Mode::kNosa;
  schema::SparseConfig sparse;
};

// Called with what each position and KV head chose, positions in order.
using OnChoice = FunctionRef<void(int row, int kv_head, const Choice& choice)>;

// out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i], for n rows of weight.size().
void RmsNorm(const double* x, int n, const std::vector<double>& weight, double eps, double* out);

// Replaces the residual stream x [n, hidden] of positions first .. first + n - 1 by the layer's output,
// extending the cache, which must hold the positions before. `every_block` overrides the selection only.
void RunLayer(const Weights& weights, int layer, const LayerSettings& settings, TokenPos first, int n, bool every_block,
              LayerCache* cache, double* x, OnChoice on_choice);

}  // namespace nosa::reference

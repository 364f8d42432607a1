#include "reference_selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace nosa::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// P[w]: softmax over the visible windows, summed over the heads of the group.
std::vector<double> WindowScores(const SelectionInput& in, int windows) {
  std::vector<double> p(static_cast<size_t>(windows), 0.0), logits(p.size());
  const double scale = 1.0 / std::sqrt(static_cast<double>(in.head_dim));
  for (int h = 0; h < in.group; ++h) {
    const double* q = in.q + static_cast<ptrdiff_t>(h) * in.head_dim;
    for (size_t w = 0; w < p.size(); ++w) {
      const double* c = in.c + w * in.c_stride;
      double sum = 0.0;
      for (int i = 0; i < in.head_dim; ++i) sum += q[i] * c[i];
      logits[w] = sum * scale;
    }
    if (logits.empty()) break;
    const double top = *std::max_element(logits.begin(), logits.end());
    double total = 0.0;
    for (double& x : logits) total += x = std::exp(x - top);
    for (size_t w = 0; w < p.size(); ++w) p[w] += logits[w] / total;
  }
  return p;
}

// What covers a block: its best window, and the best of the others.
struct BlockScore {
  double best = -kInfinity;    // the block's score; -infinity when no complete window covers it
  double second = -kInfinity;  // over the windows other than `window`
  int window = -1;
};

std::vector<BlockScore> BlockMaxima(const schema::SparseConfig& sparse, const std::vector<double>& windows,
                                    int blocks) {
  std::vector<BlockScore> scores(static_cast<size_t>(blocks));
  const int per_block = sparse.windows_per_block();
  for (int b = 0; b < blocks; ++b) {
    BlockScore& score = scores[static_cast<size_t>(b)];
    for (int w = per_block * b - 1; w <= per_block * b + per_block - 1; ++w) {
      if (w < 0 || w >= static_cast<int>(windows.size())) continue;
      const double x = windows[static_cast<size_t>(w)];
      if (x > score.best) {
        score = {x, score.best, w};
      } else {
        score.second = std::max(score.second, x);
      }
    }
  }
  return scores;
}

bool Forced(const schema::SparseConfig& sparse, int b, int current) {
  return b < sparse.init_blocks || b >= current - sparse.local_blocks();
}

// The smallest change of window scores that would change the choice of order[0 .. taken).
// Neighbouring blocks share a window, so exact ties are common and harmless: one value decides both blocks,
// in any arithmetic. Such a tie ends only when the block left out gets a better window of its own. A window
// lies in at most two blocks, so two blocks on each side of the edge are enough to look at.
Boundary EdgeOf(const std::vector<BlockScore>& scores, const std::vector<size_t>& order, size_t taken) {
  if (taken == 0 || taken >= order.size()) return {};
  const BlockScore &in = scores[order[taken - 1]], &out = scores[order[taken]];
  if (std::isinf(in.best)) return {};  // forced, or uncovered: decided without a score
  if (in.window != out.window) return {in.best - out.best, in.best};
  double gap = in.best - out.second;
  if (taken >= 2) gap = std::min(gap, scores[order[taken - 2]].best - out.best);
  if (taken + 1 < order.size()) gap = std::min(gap, in.best - scores[order[taken + 1]].best);
  return {gap, in.best};
}

// The `count` best scores, ties to the lower index; blocks already in `chosen` come first.
void TakeBest(std::vector<BlockScore> scores, int count, std::vector<uint8_t>* chosen, Boundary* boundary) {
  for (size_t b = 0; b < scores.size(); ++b) {
    if ((*chosen)[b] != 0) scores[b].best = kInfinity;
  }
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a].best > scores[b].best; });
  const size_t taken = std::min(order.size(), static_cast<size_t>(count));
  std::fill(chosen->begin(), chosen->end(), uint8_t{0});
  for (size_t i = 0; i < taken; ++i) (*chosen)[order[i]] = 1;
  *boundary = EdgeOf(scores, order, taken);
}

}  // namespace

int VisibleWindows(const schema::SparseConfig& sparse, TokenPos t) {
  if (t + 1 < sparse.kernel_size) return 0;
  return (t + 1 - sparse.kernel_size) / sparse.kernel_stride + 1;
}

Choice SelectBlocks(const SelectionInput& in) {
  const int current = in.t / in.sparse.block_size, blocks = current + 1;
  const int windows = VisibleWindows(in.sparse, in.t);
  const bool by_query = in.mode == Mode::kNosa || in.mode == Mode::kInfLlm2;
  const bool by_importance = in.mode == Mode::kNosa || in.mode == Mode::kDma;
  Choice choice;
  choice.selected.assign(static_cast<size_t>(blocks), in.mode == Mode::kFull ? 1 : 0);
  if (in.mode == Mode::kFull) return choice;

  for (int b = 0; b < blocks; ++b) choice.selected[static_cast<size_t>(b)] = Forced(in.sparse, b, current) ? 1 : 0;
  if (in.mode == Mode::kWindow) return choice;

  if (by_query) {
    const int count = in.mode == Mode::kInfLlm2 ? in.sparse.topk : in.sparse.query_blocks();
    TakeBest(BlockMaxima(in.sparse, WindowScores(in, windows), blocks), count, &choice.selected, &choice.query);
  }
  if (by_importance) {
    std::vector<double> sigma(static_cast<size_t>(windows));
    for (size_t w = 0; w < sigma.size(); ++w) sigma[w] = in.sigma[w * in.sigma_stride];
    TakeBest(BlockMaxima(in.sparse, sigma, blocks), in.sparse.topk, &choice.selected, &choice.importance);
  }
  return choice;
}

}  // namespace nosa::reference

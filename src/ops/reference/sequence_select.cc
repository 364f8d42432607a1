#include "ops/sequence_select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

// The blocks of highest score join `mask` until it has `members`, of the first `blocks`.
void Fill(const std::vector<double>& scores, int64_t blocks, int64_t members, uint64_t* mask) {
  int64_t present = 0;
  for (int64_t b = 0; b < blocks; ++b) present += MaskBit(mask, b) ? 1 : 0;
  for (; present < std::min(members, blocks); ++present) {
    int64_t best = -1;
    for (int64_t b = 0; b < blocks; ++b) {
      if (!MaskBit(mask, b) && (best < 0 || scores[static_cast<size_t>(b)] > scores[static_cast<size_t>(best)]))
        best = b;
    }
    mask[best / 64] |= uint64_t{1} << (best % 64);
  }
}

}  // namespace

void sequence_select(Backend&, Stream, const SequenceSelectArgs& args) {
  const SequenceSizes size = SizesOf(args.q, args.tokens, args.kv_heads, "q");
  const SelectionRule& rule = args.rule;
  const int64_t windows = WindowsOf(size.tokens, args.kernel_size, args.kernel_stride);
  const int64_t words = MaskWords(size.tokens, args.block_size), in_block = args.block_size / args.kernel_stride;
  for (int64_t r = 0; r < size.rows; ++r) {
    const int64_t sequence = r / size.tokens, t = r % size.tokens, own = t / args.block_size, blocks = own + 1;
    const int64_t visible = std::min(windows, WindowsOf(t + 1, args.kernel_size, args.kernel_stride));
    for (int64_t g = 0; g < size.kv_heads; ++g) {
      uint64_t* mask = args.masks.row<uint64_t>(r) + g * words;
      std::fill_n(mask, words, 0);
      for (int64_t b = 0; b < blocks; ++b) {
        if (b < rule.init_blocks || b >= own - rule.local_blocks) mask[b / 64] |= uint64_t{1} << (b % 64);
      }
      std::vector<double> p(static_cast<size_t>(visible)), q_score(static_cast<size_t>(blocks), kNone),
          e_score = q_score;
      for (int64_t h = g * size.group; h < (g + 1) * size.group; ++h) {
        std::vector<double> logits;
        double most = kNone, sum = 0;
        for (int64_t w = 0; w < visible; ++w) {
          double dot = 0;
          for (int64_t d = 0; d < size.dim; ++d) {
            dot += static_cast<double>(LoadFloat(args.q.bytes(), args.q.dtype(),
                                                 static_cast<size_t>((r * size.heads + h) * size.dim + d))) *
                   LoadFloat(args.keys.bytes(), args.q.dtype(),
                             static_cast<size_t>(((sequence * windows + w) * size.kv_heads + g) * size.dim + d));
          }
          logits.push_back(dot * args.scale);
          most = std::max(most, logits.back());
        }
        for (double& logit : logits) sum += logit = std::exp(logit - most);
        for (int64_t w = 0; w < visible; ++w) p[static_cast<size_t>(w)] += logits[static_cast<size_t>(w)] / sum;
      }
      for (int64_t b = 0; b < blocks; ++b) {
        for (int64_t w = std::max<int64_t>(0, in_block * b - 1);
             w <= std::min(in_block * b + in_block - 1, visible - 1); ++w) {
          double& q = q_score[static_cast<size_t>(b)];
          double& e = e_score[static_cast<size_t>(b)];
          // Scores are f32: what is equal there ties.
          q = std::max(q, static_cast<double>(static_cast<float>(p[static_cast<size_t>(w)])));
          if (rule.topk > 0) e = std::max(e, static_cast<double>(args.sigma.row<float>(sequence * windows + w)[g]));
        }
      }
      Fill(q_score, blocks, rule.query_blocks, mask);
      Fill(e_score, blocks, rule.topk, mask);
    }
  }
}

}  // namespace nosa::ops::reference

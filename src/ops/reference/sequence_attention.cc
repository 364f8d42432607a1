#include "ops/sequence_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void sequence_attention(Backend&, Stream, const SequenceAttentionArgs& args) {
  const SequenceSizes size = SizesOf(args.q, args.tokens, args.k.dim(1), "q");
  const DType dtype = args.q.dtype();
  const auto at = [&](const ConstTensorView& view, int64_t row, int64_t head, int64_t d) -> double {
    return LoadFloat(view.bytes(), dtype, static_cast<size_t>((row * view.dim(1) + head) * size.dim + d));
  };
  for (int64_t r = 0; r < size.rows; ++r) {
    const int64_t first = r / size.tokens * size.tokens;
    for (int64_t h = 0; h < size.heads; ++h) {
      const int64_t g = h / size.group;
      const uint64_t* mask = args.masks.row<uint64_t>(r) + g * args.masks.dim(2);
      std::vector<std::pair<int64_t, double>> logits;  // of a row of k
      double most = -std::numeric_limits<double>::infinity();
      for (int64_t j = first; j <= r; ++j) {
        if (!MaskBit(mask, (j - first) / args.block_size)) continue;
        double dot = 0;
        for (int64_t d = 0; d < size.dim; ++d) dot += at(args.q, r, h, d) * at(args.k, j, g, d);
        logits.emplace_back(j, dot * args.scale + (args.s.empty() ? 0.0f : args.s.row<float>(j)[g]));
        most = std::max(most, logits.back().second);
      }
      double sum = 0;
      std::vector<double> out(static_cast<size_t>(size.dim));
      for (const auto& [j, logit] : logits) {
        const double w = std::exp(logit - most);
        sum += w;
        for (int64_t d = 0; d < size.dim; ++d) out[static_cast<size_t>(d)] += w * at(args.v, j, g, d);
      }
      for (int64_t d = 0; d < size.dim; ++d) {
        const double value = logits.empty() ? 0 : out[static_cast<size_t>(d)] / sum;
        StoreFloat(args.out.bytes(), dtype, static_cast<size_t>((r * size.heads + h) * size.dim + d),
                   static_cast<float>(value));
      }
      args.lse.row<float>(r)[h] =
          logits.empty() ? -std::numeric_limits<float>::infinity() : static_cast<float>(most + std::log(sum));
    }
  }
}

}  // namespace nosa::ops::reference

#include "ops/sequence_attention_grad.h"

#include <cmath>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void sequence_attention_grad(Backend&, Stream, const SequenceAttentionGradArgs& args) {
  const SequenceAttentionArgs& forward = args.forward;
  const SequenceSizes size = SizesOf(forward.q, forward.tokens, forward.k.dim(1), "q");
  const DType dtype = forward.q.dtype();
  const auto at = [&](const ConstTensorView& view, int64_t row, int64_t head, int64_t d) -> double {
    return LoadFloat(view.bytes(), dtype, static_cast<size_t>((row * view.dim(1) + head) * size.dim + d));
  };
  const auto keys = static_cast<size_t>(size.rows * size.kv_heads);
  std::vector<double> dk(keys * static_cast<size_t>(size.dim)), dv = dk, ds(keys), dq(static_cast<size_t>(size.dim));
  for (int64_t r = 0; r < size.rows; ++r) {
    const int64_t first = r / size.tokens * size.tokens;
    for (int64_t h = 0; h < size.heads; ++h) {
      const int64_t g = h / size.group;
      const uint64_t* mask = forward.masks.row<uint64_t>(r) + g * forward.masks.dim(2);
      const double lse = forward.lse.row<float>(r)[h];
      double mean = 0;  // dout . out
      for (int64_t d = 0; d < size.dim; ++d) mean += at(args.dout, r, h, d) * at(forward.out, r, h, d);
      std::fill(dq.begin(), dq.end(), 0);
      for (int64_t j = first; j <= r; ++j) {
        if (!MaskBit(mask, (j - first) / forward.block_size)) continue;
        double dot = 0, e = -mean;
        for (int64_t d = 0; d < size.dim; ++d) {
          dot += at(forward.q, r, h, d) * at(forward.k, j, g, d);
          e += at(args.dout, r, h, d) * at(forward.v, j, g, d);
        }
        const double s = forward.s.empty() ? 0.0f : forward.s.row<float>(j)[g];
        const double w = std::exp(dot * forward.scale + s - lse), dlogit = w * e;
        const auto key = static_cast<size_t>(j * size.kv_heads + g);
        for (int64_t d = 0; d < size.dim; ++d) {
          const size_t i = key * static_cast<size_t>(size.dim) + static_cast<size_t>(d);
          dq[static_cast<size_t>(d)] += dlogit * at(forward.k, j, g, d) * forward.scale;
          dk[i] += dlogit * at(forward.q, r, h, d) * forward.scale;
          dv[i] += w * at(args.dout, r, h, d);
        }
        ds[key] += dlogit;
      }
      for (int64_t d = 0; d < size.dim; ++d) {
        StoreFloat(args.dq.bytes(), dtype, static_cast<size_t>((r * size.heads + h) * size.dim + d),
                   static_cast<float>(dq[static_cast<size_t>(d)]));
      }
    }
  }
  for (size_t i = 0; i < dk.size(); ++i) {
    StoreFloat(args.dk.bytes(), dtype, i, static_cast<float>(dk[i]));
    StoreFloat(args.dv.bytes(), dtype, i, static_cast<float>(dv[i]));
  }
  for (size_t i = 0; i < ds.size() && !args.ds.empty(); ++i) {
    StoreFloat(args.ds.bytes(), DType::kF32, i, static_cast<float>(ds[i]));
  }
}

}  // namespace nosa::ops::reference

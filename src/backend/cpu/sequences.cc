// The ops on whole sequences (ops/sequence.h). A task is one KV head of one sequence: its keys and values are widened
// once, by tokens and by channels, so that scores have a vector of tokens and sums a vector of channels.
#include <math.h>

#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "ops/sequence_attention_grad.h"
#include "ops/sequence_select.h"

#ifndef NOSA_BACKEND_CPU_SEQUENCES_
#define NOSA_BACKEND_CPU_SEQUENCES_
namespace nosa::cpu {

// Tokens, or windows, of one KV head: rows [count, dim] and columns [dim, count], both padded with zeros to kPad.
struct Widened {
  static constexpr size_t kPad = 16;  // the lanes of the widest vectors
  static size_t Padded(size_t n) { return (n + kPad - 1) / kPad * kPad; }

  size_t count = 0, dim = 0;
  std::vector<float> rows, columns;

  // Head `head` of rows [first, first + tokens) of a [*, heads, dim] tensor.
  void Fill(const ConstTensorView& from, int64_t first, int64_t tokens, int64_t head, bool by_columns);
  const float* Row(size_t i) const { return rows.data() + i * Padded(dim); }
};

// What a thread computes with. Kept from task to task; grown by the first ones.
struct SequenceScratch {
  Widened k, v;
  std::vector<float> q, out, logits, errors, dq, dk, dv, ds, p, scores;
  std::vector<int32_t> blocks;
};

// q and the like of one row and head, widened and padded with zeros.
void WidenRow(const ConstTensorView& from, int64_t row, int64_t head, float* to);
void NarrowRow(const float* from, int64_t row, int64_t head, const TensorView& to);
// The blocks of highest score join the first `blocks` bits of `mask` until there are `members`; ties to the lower one.
void FillMask(const float* scores, int64_t blocks, int64_t members, std::vector<int32_t>* order, uint64_t* mask);

}  // namespace nosa::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sequences.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// to[i] = q . column (first + i) * scale, for whole vectors that hold `count` of them.
HWY_INLINE void Scores(const float* q, const Widened& keys, size_t first, size_t count, float scale, float* to) {
  const FloatTag d;
  const size_t lanes = FloatLanes(), stride = Widened::Padded(keys.count);
  const float* columns = keys.columns.data() + first;
  const size_t last = (count - 1) / lanes * lanes;  // of the last vector; loads may pass the padding's end, but for it
  for (size_t i = 0; i < count; i += lanes) {
    const size_t left = i == last ? count - i : lanes;
    auto even = hn::Zero(d), odd = hn::Zero(d);
    for (size_t c = 0; c < keys.dim; ++c) {
      const float* column = columns + c * stride + i;
      const auto k = left == lanes ? hn::LoadU(d, column) : LoadWideN(d, column, left);
      if (c % 2 == 0) {
        even = hn::MulAdd(hn::Set(d, q[c]), k, even);
      } else {
        odd = hn::MulAdd(hn::Set(d, q[c]), k, odd);
      }
    }
    hn::StoreU(hn::Mul(hn::Add(even, odd), hn::Set(d, scale)), d, to + i);
  }
}

// to += factor * from, n a multiple of Widened::kPad.
HWY_INLINE void AddTimes(float factor, const float* from, size_t n, float* to) {
  const FloatTag d;
  const auto f = hn::Set(d, factor);
  for (size_t i = 0; i < n; i += FloatLanes())
    hn::StoreU(hn::MulAdd(f, hn::LoadU(d, from + i), hn::LoadU(d, to + i)), d, to + i);
}

HWY_INLINE float Dot(const float* a, const float* b, size_t n) {
  const FloatTag d;
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < n; i += FloatLanes()) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  return SumLanes(d, sum);
}

// x[i] = exp(x[i] - shift) for i < n; returns their sum. x has room for whole vectors.
HWY_INLINE float ExpInPlace(float* x, size_t n, float shift) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const auto minus = hn::Set(d, shift);
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < n; i += lanes) {
    const auto e = Exp(d, hn::Sub(hn::LoadU(d, x + i), minus));
    sum = hn::Add(sum, i + lanes <= n ? e : hn::IfThenElseZero(hn::FirstN(d, n - i), e));
    hn::StoreU(e, d, x + i);
  }
  return SumLanes(d, sum);
}

HWY_INLINE float MaxOf(const float* x, size_t n) {
  float most = -HUGE_VALF;
  for (size_t i = 0; i < n; ++i) most = HWY_MAX(most, x[i]);
  return most;
}

// Calls each(first, tokens) for the blocks of `mask` with tokens up to t.
template <typename Each>
HWY_INLINE void ForBlocks(const uint64_t* mask, size_t t, size_t block_size, Each each) {
  for (size_t b = 0; b * block_size <= t; ++b) {
    if ((mask[b / 64] >> (b % 64) & 1) != 0) each(b * block_size, HWY_MIN(block_size, t + 1 - b * block_size));
  }
}

// The logits of a row, side by side; returns how many.
HWY_INLINE size_t RowLogits(const ops::SequenceAttentionArgs& args, const SequenceScratch& scratch, const float* bias,
                            const uint64_t* mask, size_t t, const float* q, float* logits) {
  const FloatTag d;
  size_t n = 0;
  ForBlocks(mask, t, static_cast<size_t>(args.block_size), [&](size_t first, size_t tokens) HWY_ATTR {
    Scores(q, scratch.k, first, tokens, args.scale, logits + n);
    if (bias != nullptr) {
      for (size_t i = 0; i < tokens; ++i) logits[n + i] += bias[first + i];
    }
    n += tokens;
  });
  return n;
}

HWY_INLINE const uint64_t* MaskOf(const ops::SequenceAttentionArgs& args, int64_t row, int64_t g) {
  return args.masks.row<uint64_t>(row) + g * args.masks.dim(2);
}

void Attend(const ops::SequenceAttentionArgs& args, const ops::SequenceSizes& size, int64_t first, int64_t g,
            SequenceScratch* scratch) {
  const size_t padded = Widened::Padded(static_cast<size_t>(size.dim));
  for (int64_t t = 0; t < size.tokens; ++t) {
    const uint64_t* mask = MaskOf(args, first + t, g);
    for (int64_t h = g * size.group; h < (g + 1) * size.group; ++h) {
      WidenRow(args.q, first + t, h, scratch->q.data());
      float* logits = scratch->logits.data();
      const size_t n = RowLogits(args, *scratch, args.s.empty() ? nullptr : scratch->ds.data(), mask,
                                 static_cast<size_t>(t), scratch->q.data(), logits);
      float* out = scratch->out.data();
      for (size_t i = 0; i < padded; ++i) out[i] = 0;
      float lse = -HUGE_VALF;
      if (n > 0) {
        const float most = MaxOf(logits, n), sum = ExpInPlace(logits, n, most), inverse = 1.0f / sum;
        size_t at = 0;
        ForBlocks(mask, static_cast<size_t>(t), static_cast<size_t>(args.block_size),
                  [&](size_t begin, size_t tokens) HWY_ATTR {
                    for (size_t i = 0; i < tokens; ++i)
                      AddTimes(logits[at + i] * inverse, scratch->v.Row(begin + i), padded, out);
                    at += tokens;
                  });
        lse = most + logf(sum);
      }
      NarrowRow(out, first + t, h, args.out);
      args.lse.row<float>(first + t)[h] = lse;
    }
  }
}

void AttendGrad(const ops::SequenceAttentionGradArgs& args, const ops::SequenceSizes& size, int64_t first, int64_t g,
                SequenceScratch* scratch) {
  const ops::SequenceAttentionArgs& forward = args.forward;
  const size_t padded = Widened::Padded(static_cast<size_t>(size.dim));
  for (int64_t t = 0; t < size.tokens; ++t) {
    const uint64_t* mask = MaskOf(forward, first + t, g);
    for (int64_t h = g * size.group; h < (g + 1) * size.group; ++h) {
      float *q = scratch->q.data(), *dout = scratch->out.data(), *dq = scratch->dq.data();
      WidenRow(forward.out, first + t, h, q);
      WidenRow(args.dout, first + t, h, dout);
      const float mean = Dot(q, dout, padded);
      WidenRow(forward.q, first + t, h, q);
      for (size_t i = 0; i < padded; ++i) dq[i] = 0;
      float *w = scratch->logits.data(), *errors = scratch->errors.data();
      const size_t n = RowLogits(forward, *scratch, forward.s.empty() ? nullptr : scratch->p.data(), mask,
                                 static_cast<size_t>(t), q, w);
      if (n > 0) ExpInPlace(w, n, forward.lse.row<float>(first + t)[h]);
      size_t at = 0;
      ForBlocks(mask, static_cast<size_t>(t), static_cast<size_t>(forward.block_size),
                [&](size_t begin, size_t tokens) HWY_ATTR {
                  Scores(dout, scratch->v, begin, tokens, 1.0f, errors);
                  for (size_t i = 0; i < tokens; ++i) {
                    const size_t j = begin + i;
                    const float dlogit = w[at + i] * (errors[i] - mean);
                    AddTimes(w[at + i], dout, padded, scratch->dv.data() + j * padded);
                    AddTimes(dlogit * forward.scale, q, padded, scratch->dk.data() + j * padded);
                    AddTimes(dlogit * forward.scale, scratch->k.Row(j), padded, dq);
                    scratch->ds[j] += dlogit;
                  }
                  at += tokens;
                });
      NarrowRow(dq, first + t, h, args.dq);
    }
  }
}

// The block scores of one row and KV head from windows: scratch->p becomes the window scores, `visible` of them.
void QueryScores(const ops::SequenceSelectArgs& args, const ops::SequenceSizes& size, int64_t row, int64_t g,
                 size_t visible, SequenceScratch* scratch) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  float *logits = scratch->logits.data(), *p = scratch->p.data();
  for (size_t w = 0; w < visible; w += lanes) hn::StoreU(hn::Zero(d), d, p + w);
  if (visible == 0) return;
  for (int64_t h = g * size.group; h < (g + 1) * size.group; ++h) {
    WidenRow(args.q, row, h, scratch->q.data());
    Scores(scratch->q.data(), scratch->k, 0, visible, args.scale, logits);
    const auto inverse = hn::Set(d, 1.0f / ExpInPlace(logits, visible, MaxOf(logits, visible)));
    for (size_t w = 0; w < visible; w += lanes)
      hn::StoreU(hn::MulAdd(hn::LoadU(d, logits + w), inverse, hn::LoadU(d, p + w)), d, p + w);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

namespace nosa::cpu {
HWY_EXPORT(Attend);
HWY_EXPORT(AttendGrad);
HWY_EXPORT(QueryScores);

void Widened::Fill(const ConstTensorView& from, int64_t first, int64_t tokens, int64_t head, bool by_columns) {
  count = static_cast<size_t>(tokens);
  dim = static_cast<size_t>(from.dim(2));
  const size_t padded = Padded(dim), stride = Padded(count);
  rows.assign(count * padded, 0);
  for (size_t i = 0; i < count; ++i) WidenRow(from, first + static_cast<int64_t>(i), head, rows.data() + i * padded);
  if (!by_columns) return;
  columns.assign(dim * stride + kPad, 0);
  for (size_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < dim; ++c) columns[c * stride + i] = rows[i * padded + c];
  }
}

void WidenRow(const ConstTensorView& from, int64_t row, int64_t head, float* to) {
  const auto dim = static_cast<size_t>(from.dim(2)), begin = static_cast<size_t>(row * from.dim(1) + head) * dim;
  for (size_t i = 0; i < dim; ++i) to[i] = LoadFloat(from.bytes(), from.dtype(), begin + i);
  std::fill(to + dim, to + Widened::Padded(dim), 0.0f);
}

void NarrowRow(const float* from, int64_t row, int64_t head, const TensorView& to) {
  const auto dim = static_cast<size_t>(to.dim(2)), begin = static_cast<size_t>(row * to.dim(1) + head) * dim;
  for (size_t i = 0; i < dim; ++i) StoreFloat(to.bytes(), to.dtype(), begin + i, from[i]);
}

void FillMask(const float* scores, int64_t blocks, int64_t members, std::vector<int32_t>* order, uint64_t* mask) {
  order->clear();
  int64_t present = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    if (ops::MaskBit(mask, b)) {
      ++present;
    } else {
      order->push_back(static_cast<int32_t>(b));
    }
  }
  const auto missing = static_cast<std::ptrdiff_t>(std::min(members, blocks) - present);
  if (missing <= 0) return;
  std::nth_element(order->begin(), order->begin() + missing - 1, order->end(),
                   [scores](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  for (std::ptrdiff_t i = 0; i < missing; ++i) {
    const auto b = static_cast<size_t>((*order)[static_cast<size_t>(i)]);
    mask[b / 64] |= uint64_t{1} << (b % 64);
  }
}

namespace {

// body(first row, KV head, scratch) for every sequence and KV head.
template <typename Body>
void ForTasks(ops::Backend& backend, const ops::SequenceSizes& size, Body body) {
  ThreadPool& pool = *ContextOf(backend).pool;
  std::vector<SequenceScratch> scratches(static_cast<size_t>(pool.size()));
  const auto padded = Widened::Padded(static_cast<size_t>(size.dim));
  const auto row = Widened::Padded(static_cast<size_t>(size.tokens)) + Widened::kPad;
  pool.ParallelFor(size.sequences * size.kv_heads, 1, [&](int64_t begin, int64_t end, int thread) {
    SequenceScratch& scratch = scratches[static_cast<size_t>(thread)];
    for (std::vector<float>* of_channels : {&scratch.q, &scratch.out, &scratch.dq}) of_channels->resize(padded);
    for (std::vector<float>* of_tokens : {&scratch.logits, &scratch.errors, &scratch.p, &scratch.scores}) {
      // Each block of logits may begin anywhere and is written in whole vectors.
      of_tokens->resize(row);
    }
    for (int64_t i = begin; i < end; ++i) body(i / size.kv_heads * size.tokens, i % size.kv_heads, &scratch);
  });
}

void LoadBias(const ConstTensorView& s, int64_t first, int64_t tokens, int64_t g, std::vector<float>* to) {
  if (s.empty()) return;
  for (int64_t t = 0; t < tokens; ++t) (*to)[static_cast<size_t>(t)] = s.row<float>(first + t)[g];
}

}  // namespace

void sequence_select(ops::Backend& backend, ops::Stream, const ops::SequenceSelectArgs& args) {
  const ops::SequenceSizes size = ops::SizesOf(args.q, args.tokens, args.kv_heads, "q");
  const int64_t windows = ops::WindowsOf(size.tokens, args.kernel_size, args.kernel_stride);
  const int64_t in_block = args.block_size / args.kernel_stride, words = args.masks.dim(2);
  const auto scores_of = HWY_DYNAMIC_DISPATCH(QueryScores);
  ForTasks(backend, size, [&](int64_t first, int64_t g, SequenceScratch* scratch) {
    const int64_t first_window = first / size.tokens * windows;
    scratch->k.Fill(args.keys, first_window, windows, g, true);
    std::vector<float>& importance = scratch->errors;
    const auto block_max = [&](int64_t b, int64_t visible, auto value) {
      float best = -HUGE_VALF;
      for (int64_t w = std::max<int64_t>(0, in_block * b - 1); w <= std::min(in_block * b + in_block, visible) - 1; ++w)
        best = std::max(best, value(w));
      return best;
    };
    for (int64_t t = 0; t < size.tokens; ++t) {
      const int64_t own = t / args.block_size, blocks = own + 1;
      const int64_t visible = std::min(windows, ops::WindowsOf(t + 1, args.kernel_size, args.kernel_stride));
      uint64_t* mask = args.masks.row<uint64_t>(first + t) + g * words;
      std::fill_n(mask, words, 0);
      for (int64_t b = 0; b < blocks; ++b) {
        if (b < args.rule.init_blocks || b >= own - args.rule.local_blocks) mask[b / 64] |= uint64_t{1} << (b % 64);
      }
      if (args.rule.query_blocks > 0) {
        scores_of(args, size, first + t, g, static_cast<size_t>(visible), scratch);
        for (int64_t b = 0; b < blocks; ++b) {
          scratch->scores[static_cast<size_t>(b)] =
              block_max(b, visible, [&](int64_t w) { return scratch->p[static_cast<size_t>(w)]; });
        }
        FillMask(scratch->scores.data(), blocks, args.rule.query_blocks, &scratch->blocks, mask);
      }
      if (args.rule.topk > 0) {
        for (int64_t b = 0; b < blocks; ++b) {
          importance[static_cast<size_t>(b)] =
              block_max(b, visible, [&](int64_t w) { return args.sigma.row<float>(first_window + w)[g]; });
        }
        FillMask(importance.data(), blocks, args.rule.topk, &scratch->blocks, mask);
      }
    }
  });
}

void sequence_attention(ops::Backend& backend, ops::Stream, const ops::SequenceAttentionArgs& args) {
  const ops::SequenceSizes size = ops::SizesOf(args.q, args.tokens, args.k.dim(1), "q");
  const auto attend = HWY_DYNAMIC_DISPATCH(Attend);
  ForTasks(backend, size, [&](int64_t first, int64_t g, SequenceScratch* scratch) {
    scratch->k.Fill(args.k, first, size.tokens, g, true);
    scratch->v.Fill(args.v, first, size.tokens, g, false);
    scratch->ds.resize(static_cast<size_t>(size.tokens));
    LoadBias(args.s, first, size.tokens, g, &scratch->ds);
    attend(args, size, first, g, scratch);
  });
}

void sequence_attention_grad(ops::Backend& backend, ops::Stream, const ops::SequenceAttentionGradArgs& args) {
  const ops::SequenceSizes size = ops::SizesOf(args.forward.q, args.forward.tokens, args.forward.k.dim(1), "q");
  const auto attend = HWY_DYNAMIC_DISPATCH(AttendGrad);
  const size_t padded = Widened::Padded(static_cast<size_t>(size.dim)), tokens = static_cast<size_t>(size.tokens);
  ForTasks(backend, size, [&](int64_t first, int64_t g, SequenceScratch* scratch) {
    scratch->k.Fill(args.forward.k, first, size.tokens, g, true);
    scratch->v.Fill(args.forward.v, first, size.tokens, g, true);
    LoadBias(args.forward.s, first, size.tokens, g, &scratch->p);
    scratch->dk.assign(tokens * padded, 0);
    scratch->dv.assign(tokens * padded, 0);
    scratch->ds.assign(tokens, 0);
    attend(args, size, first, g, scratch);
    for (int64_t t = 0; t < size.tokens; ++t) {
      NarrowRow(scratch->dk.data() + static_cast<size_t>(t) * padded, first + t, g, args.dk);
      NarrowRow(scratch->dv.data() + static_cast<size_t>(t) * padded, first + t, g, args.dv);
      if (!args.ds.empty()) args.ds.row<float>(first + t)[g] = scratch->ds[static_cast<size_t>(t)];
    }
  });
}

}  // namespace nosa::cpu
#endif

#include "ops/seat_attention.h"

#include "attention_problem.h"
#include "seat_problem.h"

namespace nosa::ops {
namespace {

using Part = SeatAttentionArgs::Part;

struct SeatShape {
  int block, k_dim, v_dim, group, kv_heads, width;
  DType dtype;
  bool bias;
  std::string Name() const {
    return fmt::format("B {} D {} Dv {} g {} G {} width {} {}{}", block, k_dim, v_dim, group, kv_heads, width,
                       DTypeName(dtype), bias ? " biased" : "");
  }
};

std::vector<SeatShape> Shapes() {
  std::vector<SeatShape> shapes;
  struct Base {
    int block, k_dim, v_dim, group, kv_heads, width;
  };
  for (const Base& b :
       {Base{64, 128, 128, 16, 1, 9}, Base{64, 128, 128, 4, 2, 8}, Base{64, 64, 64, 16, 1, 6},
        Base{64, 64, 64, 4, 2, 13}, Base{16, 64, 64, 3, 2, 5}, Base{16, 128, 128, 1, 2, 4}, Base{48, 64, 64, 7, 1, 7},
        Base{16, 40, 40, 4, 2, 7}, Base{16, 40, 24, 3, 1, 3}, Base{16, 5, 5, 1, 3, 10}, Base{7, 5, 3, 3, 2, 5},
        Base{24, 64, 64, 2, 1, 6}, Base{1, 1, 1, 1, 1, 5}}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const bool bias : {false, true})
        shapes.push_back({b.block, b.k_dim, b.v_dim, b.group, b.kv_heads, b.width, dtype, bias});
    }
  }
  return shapes;
}

// Seats at awkward positions with selections of every size. Blocks lie in frames in no order; tokens that a seat cannot
// see are NaN in its frames, and so are the addresses behind a selection.
class Problem {
 public:
  explicit Problem(const SeatShape& shape)
      : shape_(shape),
        frame_(MakeFrame(shape.block, shape.k_dim, shape.v_dim, shape.dtype, shape.bias)),
        splits_(SplitsOf(shape.width)) {
    const int32_t b = shape.block, w = shape.width;
    positions_ = {0, -1, b - 1, b, 3 * b, 4 * b - 1, 4 * b, w * b - 1, w * b + b / 2, 50 * b + b / 3, 900 * b + b - 1};
    const std::vector<int> counts = {1, 0, 1, 2, 3, 4, 5, w, w - 1, w, w};
    q_ = std::make_unique<RandomTensor>(DType::kF32, Shape{seats(), int64_t{shape.group} * shape.kv_heads, shape.k_dim},
                                        1, 2.0f);
    const int lanes = seats() * shape.kv_heads;
    frames_.assign(static_cast<size_t>(lanes * w) * frame_.bytes + 16, std::byte{0xff});
    ids_.assign(static_cast<size_t>(lanes * w), 1 << 20);
    addresses_.assign(static_cast<size_t>(lanes * w), nullptr);
    for (int lane = 0; lane < lanes; ++lane) {
      const size_t seat = static_cast<size_t>(lane / shape.kv_heads);
      const int32_t pos = positions_[seat], own = pos / b;
      const int count = pos < 0 ? 0 : std::min({counts[seat], own + 1, w});
      counts_.push_back(count);
      if (count == 0) continue;
      std::vector<int32_t> ids = DrawSet(Philox(9), static_cast<uint64_t>(lane), own, count - 1);
      ids.push_back(own);
      for (int i = 0; i < count; ++i) {
        const int at = lane * w + i;
        ids_[static_cast<size_t>(at)] = ids[static_cast<size_t>(i)];
        // The last first: where a block lies says nothing about which it is.
        std::byte* block = frames_.data() + static_cast<size_t>(lane * w + count - 1 - i) * frame_.bytes;
        addresses_[static_cast<size_t>(at)] = block;
        Fill(block, std::min(b, pos + 1 - ids[static_cast<size_t>(i)] * b), static_cast<uint64_t>(at));
      }
    }
    late_.assign(static_cast<size_t>(lanes * splits_), 0);
    for (size_t i = 0; i < late_.size(); ++i) late_[i] = static_cast<uint8_t>(Draw(Philox(4), i, 3) == 0 ? 1 : 0);
  }

  // `seat`: >= 0: nobody else sits.
  void Run(Backend& backend, Part part, const OwnedStates& states, int only = -1) const {
    TestVector<int32_t> positions = positions_, counts = counts_;
    for (int seat = 0; only >= 0 && seat < seats(); ++seat) {
      if (seat == only) continue;
      positions[static_cast<size_t>(seat)] = -1;
      std::fill_n(counts.begin() + seat * shape_.kv_heads, shape_.kv_heads, 0);
    }
    seat_attention(backend, {},
                   {.q = q_->view,
                    .positions = positions,
                    .selection = {const_cast<int32_t*>(ids_.data()), counts.data(), shape_.width},
                    .addresses = addresses_.data(),
                    .late = part == Part::kAll ? nullptr : late_.data(),
                    .part = part,
                    .frame = frame_,
                    .bias = shape_.bias,
                    .scale = Scale(),
                    .kv_heads = shape_.kv_heads,
                    .states = states.view});
  }

  // What every state was before: no result looks like it.
  OwnedStates MakeStates() const {
    OwnedStates states(static_cast<int64_t>(seats()) * shape_.kv_heads * splits_, shape_.group, shape_.v_dim);
    for (TestVector<float>* all : {&states.m, &states.l, &states.acc}) std::fill(all->begin(), all->end(), kBefore);
    return states;
  }

  struct Expected {
    double m = -INFINITY, l = 0;
    std::vector<double> out;  // acc / l
  };
  // Softmax over all visible tokens of a split, at once.
  Expected Softmax(int lane, int split, int h) const {
    const int seat = lane / shape_.kv_heads, g = lane % shape_.kv_heads;
    const int32_t pos = positions_[static_cast<size_t>(seat)];
    std::vector<double> logits;
    std::vector<std::vector<double>> values;
    const int first = split * kSplitBlocks, last = std::min(first + kSplitBlocks, counts_[static_cast<size_t>(lane)]);
    for (int i = first; i < last; ++i) {
      const size_t at = static_cast<size_t>(lane * shape_.width + i);
      const std::byte* block = addresses_[at];
      for (int j = 0; j < shape_.block && ids_[at] * shape_.block + j <= pos; ++j) {
        double logit = 0;
        for (int d = 0; d < shape_.k_dim; ++d) {
          const int64_t head = (static_cast<int64_t>(seat) * shape_.kv_heads + g) * shape_.group + h;
          logit += static_cast<double>(q_->At(head * shape_.k_dim + d)) *
                   static_cast<double>(LoadFloat(block, shape_.dtype, static_cast<size_t>(j * shape_.k_dim + d)));
        }
        const float* s = reinterpret_cast<const float*>(block + frame_.s_offset);
        logits.push_back(logit * static_cast<double>(Scale()) + (shape_.bias ? static_cast<double>(s[j]) : 0.0));
        std::vector<double>& v = values.emplace_back();
        for (int d = 0; d < shape_.v_dim; ++d)
          v.push_back(static_cast<double>(
              LoadFloat(block + frame_.v_offset, shape_.dtype, static_cast<size_t>(j * shape_.v_dim + d))));
      }
    }
    Expected expected;
    expected.out.resize(static_cast<size_t>(shape_.v_dim), 0.0);
    for (const double logit : logits) expected.m = std::max(expected.m, logit);
    for (size_t j = 0; j < logits.size(); ++j) {
      const double weight = std::exp(logits[j] - expected.m);
      expected.l += weight;
      for (size_t d = 0; d < expected.out.size(); ++d) expected.out[d] += weight * values[j][d];
    }
    for (double& x : expected.out) x /= expected.l == 0 ? 1 : expected.l;
    return expected;
  }

  // As in AttentionProblem: |q| < 12, |k| < 6, |s| < 12; two bf16 terms of q are good to 2^-18 of it, which D roundings
  // of f32 are no better than from D = 64 on.
  double LogitTolerance() const {
    const double dim = shape_.k_dim, eps = 0x1p-24;
    return (std::max(dim, 64.0) + 4) * eps * (12 * 6 * dim * static_cast<double>(Scale()) + 12);
  }
  double WeightTolerance() const { return 2 * LogitTolerance() + (kSplitBlocks * (shape_.block + 8.0) + 8) * 0x1p-24; }
  double OutTolerance() const { return 2 * 6 * WeightTolerance(); }

  int seats() const { return static_cast<int>(positions_.size()); }
  int splits() const { return splits_; }
  int lanes() const { return seats() * shape_.kv_heads; }
  int count(int lane) const { return counts_[static_cast<size_t>(lane)]; }
  bool late(int state) const { return late_[static_cast<size_t>(state)] != 0; }
  void ClearLate(uint8_t value) { std::fill(late_.begin(), late_.end(), value); }

  static constexpr float kBefore = 123.25f;

 private:
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.k_dim)); }
  void Fill(std::byte* block, int tokens, uint64_t stream) {
    const Philox rng(21, stream);
    uint64_t draw = 0;
    for (int j = 0; j < shape_.block; ++j) {
      const float none = j < tokens ? 0.0f : NAN;
      for (int d = 0; d < shape_.k_dim; ++d)
        StoreFloat(block, shape_.dtype, static_cast<size_t>(j * shape_.k_dim + d), rng.Normal(draw++) + none);
      for (int d = 0; d < shape_.v_dim; ++d)
        StoreFloat(block + frame_.v_offset, shape_.dtype, static_cast<size_t>(j * shape_.v_dim + d),
                   rng.Normal(draw++) + none);
      if (shape_.bias) reinterpret_cast<float*>(block + frame_.s_offset)[j] = 2 * rng.Normal(draw++) + none;
    }
  }

  SeatShape shape_;
  BlockFrame frame_;
  int splits_;
  TestVector<int32_t> positions_, counts_, ids_;
  std::unique_ptr<RandomTensor> q_;
  TestVector<std::byte> frames_;
  TestVector<const std::byte*> addresses_;
  TestVector<uint8_t> late_;
};

bool SameStates(const OwnedStates& a, const OwnedStates& b) {
  return SameBits(a.m, b.m) && SameBits(a.l, b.l) && SameBits(a.acc, b.acc);
}

TEST(seat_attention, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SeatShape& shape : Shapes()) {
    const Problem problem(shape);
    OwnedStates expected = problem.MakeStates();
    problem.Run(*reference, Part::kAll, expected);
    for (const BackendCase& backend : BackendCases()) {
      SCOPED_TRACE(backend.name + " " + shape.Name());
      OwnedStates found = problem.MakeStates();
      problem.Run(*backend.make(), Part::kAll, found);
      for (size_t i = 0; i + 1 < found.m.size(); ++i) {
        ASSERT_EQ(std::isinf(expected.m[i]), std::isinf(found.m[i])) << i;
        for (int64_t d = 0; d < shape.v_dim && std::isinf(found.m[i]); ++d)
          ASSERT_EQ(found.acc[i * static_cast<size_t>(shape.v_dim) + static_cast<size_t>(d)], 0.0f);
        if (std::isinf(found.m[i])) {
          ASSERT_EQ(found.l[i], 0.0f);
          continue;
        }
        ASSERT_NEAR(expected.m[i], found.m[i], problem.LogitTolerance()) << i;
        ASSERT_NEAR(expected.l[i], found.l[i], expected.l[i] * problem.WeightTolerance()) << i;
        for (int64_t d = 0; d < shape.v_dim; ++d) {
          const size_t at = i * static_cast<size_t>(shape.v_dim) + static_cast<size_t>(d);
          ASSERT_NEAR(expected.acc[at] / expected.l[i], found.acc[at] / found.l[i], problem.OutTolerance())
              << i << " channel " << d;
        }
      }
      ASSERT_EQ(found.m.back(), Problem::kBefore);
      ASSERT_EQ(found.l.back(), Problem::kBefore);
      ASSERT_EQ(found.acc.back(), Problem::kBefore);
    }
  }
}

// Which also says that the twin sees no token that is NaN.
TEST(seat_attention, TwinIsSoftmax) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SeatShape& shape : Shapes()) {
    SCOPED_TRACE(shape.Name());
    const Problem problem(shape);
    OwnedStates found = problem.MakeStates();
    problem.Run(*reference, Part::kAll, found);
    for (int lane = 0; lane < problem.lanes(); ++lane) {
      for (int split = 0; split < problem.splits(); ++split) {
        for (int h = 0; h < shape.group; ++h) {
          const Problem::Expected expected = problem.Softmax(lane, split, h);
          const size_t at = static_cast<size_t>((lane * problem.splits() + split) * shape.group + h);
          if (split * kSplitBlocks >= problem.count(lane)) {
            ASSERT_EQ(found.m[at], -INFINITY);
            ASSERT_EQ(found.l[at], 0.0f);
            for (int d = 0; d < shape.v_dim; ++d)
              ASSERT_EQ(found.acc[at * static_cast<size_t>(shape.v_dim) + static_cast<size_t>(d)], 0.0f);
            continue;
          }
          ASSERT_NEAR(found.m[at], expected.m, 1e-6 * (1 + std::abs(expected.m)));
          ASSERT_NEAR(found.l[at], expected.l, 2e-6 * expected.l);
          for (size_t d = 0; d < expected.out.size(); ++d) {
            ASSERT_NEAR(found.acc[at * expected.out.size() + d] / found.l[at], expected.out[d], 1e-5)
                << "lane " << lane << " split " << split << " head " << h << " channel " << d;
          }
        }
      }
    }
  }
}

// What arrives late is computed late, and nothing else: the bits are those of one call for all.
TEST(seat_attention, ReadyThenLateIsAll) {
  for (const SeatShape& shape : Shapes()) {
    Problem problem(shape);
    for (const auto& backend : BackendsAndReference()) {
      SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
      OwnedStates all = problem.MakeStates();
      problem.Run(*backend, Part::kAll, all);
      for (const std::vector<Part>& order : {std::vector{Part::kReady, Part::kLate}, {Part::kLate, Part::kReady}}) {
        OwnedStates parts = problem.MakeStates();
        problem.Run(*backend, order[0], parts);
        for (int state = 0; state < problem.lanes() * problem.splits(); ++state) {
          const bool computed = problem.late(state) == (order[0] == Part::kLate);
          for (int h = 0; h < shape.group; ++h) {
            const size_t at = static_cast<size_t>(state * shape.group + h);
            ASSERT_EQ(parts.m[at] != Problem::kBefore, computed) << "state " << state;
            ASSERT_EQ(parts.l[at] != Problem::kBefore, computed) << "state " << state;
            for (size_t d = 0; !computed && d < static_cast<size_t>(shape.v_dim); ++d)
              ASSERT_EQ(parts.acc[at * static_cast<size_t>(shape.v_dim) + d], Problem::kBefore) << "state " << state;
          }
        }
        problem.Run(*backend, order[1], parts);
        ASSERT_TRUE(SameStates(all, parts));
      }
    }
    for (const uint8_t late : {0, 1}) {
      problem.ClearLate(late);
      for (const auto& backend : BackendsAndReference()) {
        SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
        OwnedStates all = problem.MakeStates(), part = problem.MakeStates();
        const OwnedStates untouched = problem.MakeStates();
        problem.Run(*backend, Part::kAll, all);
        problem.Run(*backend, late == 0 ? Part::kLate : Part::kReady, part);
        ASSERT_TRUE(SameStates(untouched, part));
        problem.Run(*backend, late == 0 ? Part::kReady : Part::kLate, part);
        ASSERT_TRUE(SameStates(all, part));
      }
    }
  }
}

// A seat among others, and the only one.
TEST(seat_attention, ASeatsBitsAreItsOwn) {
  for (const SeatShape& shape : Shapes()) {
    const Problem problem(shape);
    for (const auto& backend : BackendsAndReference()) {
      SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
      OwnedStates all = problem.MakeStates();
      problem.Run(*backend, Part::kAll, all);
      const size_t heads = static_cast<size_t>(shape.kv_heads * problem.splits() * shape.group);
      for (int seat = 0; seat < problem.seats(); seat += 2) {
        OwnedStates alone = problem.MakeStates();
        problem.Run(*backend, Part::kAll, alone, seat);
        const size_t first = static_cast<size_t>(seat) * heads, v_dim = static_cast<size_t>(shape.v_dim);
        ASSERT_EQ(std::memcmp(all.m.data() + first, alone.m.data() + first, heads * 4), 0) << "seat " << seat;
        ASSERT_EQ(std::memcmp(all.l.data() + first, alone.l.data() + first, heads * 4), 0) << "seat " << seat;
        ASSERT_EQ(std::memcmp(all.acc.data() + first * v_dim, alone.acc.data() + first * v_dim, heads * v_dim * 4), 0)
            << "seat " << seat;
        for (size_t i = 0; i + 1 < alone.m.size(); ++i) {
          if (i >= first && i < first + heads) continue;
          ASSERT_EQ(alone.m[i], -INFINITY) << "an empty seat has a state";
          ASSERT_EQ(alone.l[i], 0.0f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace nosa::ops

#include "ops/seat_attention.h"

#include "compare.h"
#include "seat_problem.h"

namespace nosa::ops {
namespace {

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
        Base{24, 64, 64, 2, 1, 6}, Base{4, 64, 64, 1, 1, 130}, Base{1, 1, 1, 1, 1, 5}}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const bool bias : {false, true})
        shapes.push_back({b.block, b.k_dim, b.v_dim, b.group, b.kv_heads, b.width, dtype, bias});
    }
  }
  return shapes;
}

bool SameBits(const TestVector<float>& a, const TestVector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Seats at awkward positions with selections of every size. Blocks lie in frames in no order; tokens that a seat cannot
// see are NaN in its frames, and so are the addresses behind a selection.
class Problem {
 public:
  explicit Problem(const SeatShape& shape)
      : shape_(shape), frame_(MakeFrame(shape.block, shape.k_dim, shape.v_dim, shape.dtype, shape.bias)) {
    const int32_t b = shape.block, w = shape.width;
    positions_ = {0, -1, b - 1, b, 3 * b, 4 * b - 1, 4 * b, w * b - 1, w * b + b / 2, 50 * b + b / 3, 900 * b + b - 1};
    const std::vector<int> counts = {1, 0, 1, 2, 3, 4, 5, w, w - 1, w, w};
    q_ = std::make_unique<RandomTensor>(DType::kF32, Shape{seats(), heads(), shape.k_dim}, 1, 2.0f);
    const int lists = lanes() * w;
    frames_.assign(static_cast<size_t>(lists) * frame_.bytes + 16, std::byte{0xff});
    ids_.assign(static_cast<size_t>(lists), 1 << 20);
    addresses_.assign(static_cast<size_t>(lists), nullptr);
    arrivals_.assign(static_cast<size_t>(lists), 1 << 20);
    for (int lane = 0; lane < lanes(); ++lane) {
      const size_t seat = static_cast<size_t>(lane / shape.kv_heads);
      const int32_t pos = positions_[seat], own = pos / b;
      const int count = pos < 0 ? 0 : std::min({counts[seat], own + 1, w});
      counts_.push_back(count);
      if (count == 0) continue;
      std::vector<int32_t> ids = DrawSet(Philox(9), static_cast<uint64_t>(lane), own, count - 1);
      ids.push_back(own);
      for (int i = 0; i < count; ++i) {
        const size_t at = static_cast<size_t>(lane * w + i);
        ids_[at] = ids[static_cast<size_t>(i)];
        arrivals_[at] = 0;
        // The last first: where a block lies says nothing about which it is.
        addresses_[at] = frames_.data() + static_cast<size_t>(lane * w + count - 1 - i) * frame_.bytes;
        Fill(addresses_[at], std::min(b, pos + 1 - ids_[at] * b), at);
      }
    }
  }

  // Every `nth` block that is not a tail is at home, and its frame is NaN until it is fetched; all of the last seat's.
  void Miss(uint64_t nth) {
    homes_ = frames_;
    for (size_t at = 0; at < ids_.size(); ++at) {
      const int lane = static_cast<int>(at) / shape_.width, i = static_cast<int>(at) % shape_.width;
      if (i + 1 >= count(lane)) continue;
      const bool last = lane / shape_.kv_heads == seats() - 1;
      if (!last && Draw(Philox(4), at, static_cast<int>(nth)) != 0) continue;
      copies_.push_back({homes_.data() + (addresses_[at] - frames_.data()), addresses_[at]});
      arrivals_[at] = static_cast<int32_t>(copies_.size());
    }
    // The list is in no order.
    for (size_t i = 0; i < copies_.size(); ++i) {
      const size_t other = static_cast<size_t>(Draw(Philox(5), i, static_cast<int>(copies_.size())));
      std::swap(copies_[i], copies_[other]);
      for (int32_t& arrival : arrivals_) {
        if (arrival == static_cast<int32_t>(i) + 1) {
          arrival = static_cast<int32_t>(other) + 1;
        } else if (arrival == static_cast<int32_t>(other) + 1) {
          arrival = static_cast<int32_t>(i) + 1;
        }
      }
    }
    copies_.push_back({nullptr, nullptr});  // behind the list
    copy_count_ = {static_cast<int32_t>(copies_.size()) - 1};
    Evict();
  }
  void Evict() {
    for (size_t i = 0; i + 1 < copies_.size(); ++i) std::fill_n(copies_[i].to, frame_.bytes, std::byte{0xff});
  }
  // That what was fetched is whole, and nothing else was written.
  bool FramesAreHomes() const { return frames_ == homes_; }
  size_t missing() const { return copies_.size() - 1; }

  SeatAttentionArgs Args(const TensorView& out) const {
    return {.q = q_->view,
            .positions = positions_,
            .selection = {const_cast<int32_t*>(ids_.data()), const_cast<int32_t*>(counts_.data()), shape_.width},
            .addresses = addresses_.data(),
            .frame = frame_,
            .bias = shape_.bias,
            .scale = Scale(),
            .kv_heads = shape_.kv_heads,
            .out = out};
  }
  // Rows `gap` elements apart; what lies there, and one element behind, was 9.
  TestVector<float> Run(Backend& backend, bool fetch = false, int64_t gap = 0) const {
    const int64_t row = heads() * shape_.v_dim + gap;
    TestVector<float> out(static_cast<size_t>(seats() * row) + 1, 9.0f);
    SeatAttentionArgs args = Args(TensorView(out.data(), DType::kF32, OutShape(), row));
    if (fetch) {
      args.copies = copies_.data();
      args.copy_count = copy_count_.data();
      args.arrivals = arrivals_.data();
    }
    seat_attention(backend, {}, args);
    return out;
  }
  // Nobody but `seat` sits.
  TestVector<float> RunAlone(Backend& backend, int seat) const {
    TestVector<int32_t> positions(positions_.size(), -1), counts(counts_.size(), 0);
    positions[static_cast<size_t>(seat)] = positions_[static_cast<size_t>(seat)];
    for (int g = 0; g < shape_.kv_heads; ++g) {
      counts[static_cast<size_t>(seat * shape_.kv_heads + g)] = count(seat * shape_.kv_heads + g);
    }
    TestVector<float> out(static_cast<size_t>(OutShape().elements()), 9.0f);
    SeatAttentionArgs args = Args(TensorView(out.data(), DType::kF32, OutShape()));
    args.positions = positions;
    args.selection.counts = counts.data();
    seat_attention(backend, {}, args);
    return out;
  }

  // Softmax over all visible tokens of a lane, at once.
  std::vector<double> Softmax(int lane, int h) const {
    const int seat = lane / shape_.kv_heads, g = lane % shape_.kv_heads;
    const int32_t pos = positions_[static_cast<size_t>(seat)];
    std::vector<double> logits;
    std::vector<std::vector<double>> values;
    for (int i = 0; i < count(lane); ++i) {
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
    std::vector<double> out(static_cast<size_t>(shape_.v_dim), 0.0);
    const double m = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (size_t j = 0; j < logits.size(); ++j) {
      const double weight = std::exp(logits[j] - m);
      sum += weight;
      for (size_t d = 0; d < out.size(); ++d) out[d] += weight * values[j][d];
    }
    for (double& x : out) x /= sum == 0 ? 1 : sum;
    return out;
  }

  // As in AttentionProblem: |q| < 12, |k| < 6, |s| < 12; two bf16 terms of q are good to 2^-18 of it, which D roundings
  // of f32 are no better than from D = 64 on. Sums over the tokens and merges of blocks and splits add theirs.
  double LogitTolerance() const {
    const double dim = shape_.k_dim, eps = 0x1p-24;
    return (std::max(dim, 64.0) + 4) * eps * (12 * 6 * dim * static_cast<double>(Scale()) + 12);
  }
  double WeightTolerance() const { return 2 * LogitTolerance() + (shape_.width * (shape_.block + 16.0) + 8) * 0x1p-24; }
  double OutTolerance() const { return 2 * 6 * WeightTolerance(); }

  int seats() const { return static_cast<int>(positions_.size()); }
  int lanes() const { return seats() * shape_.kv_heads; }
  int64_t heads() const { return int64_t{shape_.group} * shape_.kv_heads; }
  int count(int lane) const { return counts_[static_cast<size_t>(lane)]; }
  Shape OutShape() const { return {seats(), heads(), shape_.v_dim}; }

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
  TestVector<int32_t> positions_, counts_, ids_, arrivals_;
  std::unique_ptr<RandomTensor> q_;
  TestVector<std::byte> frames_, homes_;
  TestVector<std::byte*> addresses_;
  TestVector<BlockCopy> copies_;
  TestVector<int32_t> copy_count_ = {0};
};

TEST(seat_attention, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SeatShape& shape : Shapes()) {
    const Problem problem(shape);
    const TestVector<float> expected = problem.Run(*reference);
    for (const BackendCase& backend : BackendCases()) {
      SCOPED_TRACE(backend.name + " " + shape.Name());
      const TestVector<float> found = problem.Run(*backend.make());
      for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(expected[i], found[i], problem.OutTolerance()) << i;
      ASSERT_EQ(found.back(), 9.0f);
    }
  }
}

// Which also says that the twin sees no token that is NaN.
TEST(seat_attention, TwinIsSoftmax) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SeatShape& shape : Shapes()) {
    SCOPED_TRACE(shape.Name());
    const Problem problem(shape);
    const TestVector<float> found = problem.Run(*reference);
    for (int lane = 0; lane < problem.lanes(); ++lane) {
      for (int h = 0; h < shape.group; ++h) {
        const std::vector<double> expected = problem.Softmax(lane, h);
        for (size_t d = 0; d < expected.size(); ++d) {
          const float x = found[static_cast<size_t>(lane * shape.group + h) * expected.size() + d];
          if (problem.count(lane) == 0) {
            ASSERT_EQ(x, 0.0f) << "an empty seat has an answer";
          }
          ASSERT_NEAR(x, expected[d], 2e-5) << "lane " << lane << " head " << h << " channel " << d;
        }
      }
    }
  }
}

// The bits are those of a call that finds every block in its place, time after time.
TEST(seat_attention, FetchesWhatIsMissing) {
  for (const SeatShape& shape : Shapes()) {
    for (const uint64_t nth : {1, 9}) {
      Problem problem(shape);
      std::vector<std::shared_ptr<Backend>> backends = BackendsAndReference();
      std::vector<TestVector<float>> there;
      for (const auto& backend : backends) there.push_back(problem.Run(*backend));
      problem.Miss(nth);
      if (shape.width > 1) {
        ASSERT_GT(problem.missing(), 0u);
      }
      for (size_t i = 0; i < backends.size(); ++i) {
        SCOPED_TRACE(fmt::format("{} {} every {}th missing", backends[i]->name(), shape.Name(), nth));
        for (int time = 0; time < 2; ++time) {
          problem.Evict();
          ASSERT_TRUE(SameBits(there[i], problem.Run(*backends[i], true))) << "call " << time;
          ASSERT_TRUE(problem.FramesAreHomes());
        }
        // With nothing to fetch, nothing is waited for.
        ASSERT_TRUE(SameBits(there[i], problem.Run(*backends[i])));
      }
    }
  }
}

TEST(seat_attention, AnEmptyListFetchesNothing) {
  for (const SeatShape& shape : Shapes()) {
    const Problem problem(shape);
    for (const auto& backend : BackendsAndReference()) {
      SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
      TestVector<BlockCopy> copies(1);
      const TestVector<int32_t> count = {0}, arrivals(static_cast<size_t>(problem.lanes() * shape.width), 0);
      TestVector<float> out(static_cast<size_t>(problem.OutShape().elements()), 9.0f);
      SeatAttentionArgs args = problem.Args(TensorView(out.data(), DType::kF32, problem.OutShape()));
      args.copies = copies.data();
      args.copy_count = count.data();
      args.arrivals = arrivals.data();
      seat_attention(*backend, {}, args);
      out.push_back(9.0f);
      ASSERT_TRUE(SameBits(problem.Run(*backend), out));
    }
  }
}

// A seat among others, and the only one.
TEST(seat_attention, ASeatsBitsAreItsOwn) {
  for (const SeatShape& shape : Shapes()) {
    const Problem problem(shape);
    for (const auto& backend : BackendsAndReference()) {
      SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
      const TestVector<float> all = problem.Run(*backend);
      const size_t row = static_cast<size_t>(problem.heads() * shape.v_dim);
      for (int seat = 0; seat < problem.seats(); seat += 2) {
        const TestVector<float> alone = problem.RunAlone(*backend, seat);
        const size_t first = static_cast<size_t>(seat) * row;
        ASSERT_EQ(std::memcmp(all.data() + first, alone.data() + first, row * 4), 0) << "seat " << seat;
        for (size_t i = 0; i < alone.size(); ++i) {
          if (i < first || i >= first + row) {
            ASSERT_EQ(alone[i], 0.0f) << "an empty seat has an answer";
          }
        }
      }
    }
  }
}

// A bf16 `out` is the f32 one rounded, wherever its rows lie; what lies between them stays.
TEST(seat_attention, OutMayBeBf16AndApart) {
  for (const SeatShape& shape : Shapes()) {
    const Problem problem(shape);
    for (const auto& backend : BackendsAndReference()) {
      const TestVector<float> exact = problem.Run(*backend);
      const int64_t row = problem.heads() * shape.v_dim;
      for (const int64_t gap : {0, 3, 24}) {
        SCOPED_TRACE(fmt::format("{} {} gap {}", backend->name(), shape.Name(), gap));
        const TestVector<float> apart = problem.Run(*backend, false, gap);
        const BFloat16 untouched(9.0f);
        TestVector<BFloat16> rounded(static_cast<size_t>(problem.seats() * (row + gap)) + 1, untouched);
        seat_attention(*backend, {},
                       problem.Args(TensorView(rounded.data(), DType::kBF16, problem.OutShape(), row + gap)));
        for (int64_t i = 0; i < static_cast<int64_t>(rounded.size()); ++i) {
          const int64_t r = i / (row + gap), c = i % (row + gap);
          const float wanted = r < problem.seats() && c < row ? exact[static_cast<size_t>(r * row + c)] : 9.0f;
          ASSERT_EQ(rounded[static_cast<size_t>(i)].bits, BFloat16(wanted).bits) << i;
          ASSERT_EQ(std::bit_cast<uint32_t>(apart[static_cast<size_t>(i)]), std::bit_cast<uint32_t>(wanted)) << i;
        }
      }
    }
  }
}

TEST(seat_attention, RefusesWhatDoesNotFit) {
  const auto backend = cpu::MakeCpuBackend(1);
  const Problem problem(Shapes().front());
  TestVector<float> out(static_cast<size_t>(problem.OutShape().elements()));
  const SeatAttentionArgs good = problem.Args(TensorView(out.data(), DType::kF32, problem.OutShape()));
  SeatAttentionArgs args = good;
  args.out = TensorView(out.data(), DType::kF32, {problem.seats(), problem.heads(), 1});
  EXPECT_DEATH(seat_attention(*backend, {}, args), "seat_attention: out: expected");
  args = good;
  const BlockCopy copy;
  args.copies = &copy;
  EXPECT_DEATH(seat_attention(*backend, {}, args), "copies without a count");
  args = good;
  args.bias = true;
  args.frame.s_offset = 0;
  EXPECT_DEATH(seat_attention(*backend, {}, args), "a bias is asked for");
}

}  // namespace
}  // namespace nosa::ops

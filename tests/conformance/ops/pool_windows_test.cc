#include "ops/pool_windows.h"

#include "op_test.h"

namespace nosa::ops {
namespace {

struct Shapes {
  int kernel_size, kernel_stride, dim, heads;
  DType kv, summary;
};

// A cache of `tokens` tokens (keys and importance), and the summaries of one sequence over it.
class Sequence {
 public:
  Sequence(const Shapes& shapes, int32_t tokens)
      : shapes_(shapes),
        k_(shapes.kv, {tokens, shapes.heads, shapes.dim}, 1),
        s_(DType::kF32, {tokens, shapes.heads}, 2),
        windows_(std::max(0, (tokens - shapes.kernel_size) / shapes.kernel_stride + 1)) {
    if (tokens < shapes.kernel_size) windows_ = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(tokens) * shapes.heads; ++i) {
      rows_.push_back({k_.buffer.data() + static_cast<size_t>(i * shapes.dim) * DTypeBytes(shapes.kv), nullptr,
                       s_.buffer.as<float>() + i});
    }
    tile_bytes_ = RoundUp(static_cast<uint64_t>(windows_), kWindowTile) * static_cast<size_t>(shapes.dim) *
                  DTypeBytes(shapes.summary);
    Clear();
  }

  void Clear() {
    const auto heads = static_cast<size_t>(shapes_.heads);
    keys.assign(heads * tile_bytes_ + 1, std::byte{0});
    sigma.assign(heads * static_cast<size_t>(windows_) + 1, 0.0f);
    // Garbage: the first token of a stride must not see what the row held.
    carry.assign(heads * static_cast<size_t>(shapes_.kernel_size / shapes_.kernel_stride * (shapes_.dim + 1)), 1e9f);
  }

  // Tokens [first, first + n) through `backend`.
  void Extend(Backend& backend, int32_t first, int32_t n) {
    std::vector<WindowState> states;
    for (int g = 0; g < shapes_.heads; ++g) {
      const auto i = static_cast<size_t>(g);
      const size_t carry_size = carry.size() / static_cast<size_t>(shapes_.heads);
      states.push_back({keys.data() + i * tile_bytes_, sigma.data() + i * static_cast<size_t>(windows_),
                        carry.data() + i * carry_size});
    }
    const PoolWindowsArgs::Segment segment{first, n, first, 0};
    pool_windows(backend, {},
                 {{&segment, 1},
                  rows_,
                  states,
                  shapes_.heads,
                  shapes_.dim,
                  shapes_.kernel_size,
                  shapes_.kernel_stride,
                  shapes_.kv,
                  shapes_.summary});
  }

  // Mean over window w in double, of channel c (c = dim: importance).
  double Mean(int g, int w, int c) const {
    double sum = 0;
    for (int t = w * shapes_.kernel_stride; t < w * shapes_.kernel_stride + shapes_.kernel_size; ++t) {
      const int64_t at = static_cast<int64_t>(t) * shapes_.heads + g;
      sum += static_cast<double>(c == shapes_.dim ? s_.At(at) : k_.At(at * shapes_.dim + c));
    }
    return sum / shapes_.kernel_size;
  }
  double Key(int g, int w, int c) const {
    const int64_t at = (static_cast<int64_t>(w / kWindowTile) * shapes_.dim + c) * kWindowTile + w % kWindowTile;
    return static_cast<double>(
        LoadFloat(keys.data() + static_cast<size_t>(g) * tile_bytes_, shapes_.summary, static_cast<size_t>(at)));
  }
  int windows() const { return windows_; }

  TestVector<std::byte> keys;
  TestVector<float> sigma, carry;

 private:
  Shapes shapes_;
  RandomTensor k_, s_;
  int windows_;
  size_t tile_bytes_;
  std::vector<KvRow> rows_;
};

const std::vector<Shapes>& AllShapes() {
  static const std::vector<Shapes> shapes = {
      {32, 16, 64, 2, DType::kBF16, DType::kBF16}, {32, 16, 64, 2, DType::kF32, DType::kF32},
      {8, 4, 33, 3, DType::kF32, DType::kBF16},    {48, 16, 70, 1, DType::kBF16, DType::kF32},
      {16, 16, 5, 2, DType::kF32, DType::kF32},    {3, 1, 1, 1, DType::kF32, DType::kF32}};
  return shapes;
}

std::string Name(const Shapes& s) {
  return fmt::format("ks {} st {} D {} G {} {} to {}", s.kernel_size, s.kernel_stride, s.dim, s.heads, DTypeName(s.kv),
                     DTypeName(s.summary));
}

TEST(pool_windows, TwinIsTheMean) {
  const auto reference = reference::MakeReferenceBackend();
  for (const Shapes& shapes : AllShapes()) {
    SCOPED_TRACE(Name(shapes));
    const int32_t tokens = 20 * shapes.kernel_size + 1;
    Sequence sequence(shapes, tokens);
    sequence.Extend(*reference, 0, tokens);
    ASSERT_GT(sequence.windows(), kWindowTile);
    // |values| < 6: n additions of partial sums below 6 n, one division, one rounding to the summary's type.
    const double f32 = shapes.kernel_size * 6 * 0x1p-24,
                 stored = f32 + (shapes.summary == DType::kBF16 ? 6 * 0x1p-9 : 0);
    for (int g = 0; g < shapes.heads; ++g) {
      for (int w = 0; w < sequence.windows(); ++w) {
        for (int c = 0; c < shapes.dim; ++c)
          ASSERT_NEAR(sequence.Key(g, w, c), sequence.Mean(g, w, c), stored) << g << " " << w << " " << c;
        const auto at = static_cast<size_t>(g * sequence.windows() + w);
        ASSERT_NEAR(static_cast<double>(sequence.sigma[at]), sequence.Mean(g, w, shapes.dim), f32);
      }
    }
  }
}

// One call for all tokens, one per token, and cuts beside every boundary give the same bits; compared after each call.
TEST(pool_windows, RebuildEqualsIncremental) {
  const auto reference = reference::MakeReferenceBackend();
  for (const BackendCase& backend_case : BackendCases()) {
    const auto backend = backend_case.make();
    for (const Shapes& shapes : AllShapes()) {
      const int ks = shapes.kernel_size, st = shapes.kernel_stride;
      for (const std::vector<int32_t>& cuts : std::vector<std::vector<int32_t>>{
               {1}, {st}, {st - 1, 1, st + 1}, {ks}, {ks + 1, ks - 1}, {64, 1, 1}, {5, 0, 31, 100}}) {
        SCOPED_TRACE(fmt::format("{} {} cuts from {}", backend_case.name, Name(shapes), cuts[0]));
        const int32_t tokens = 4 * ks + 3;
        Sequence built(shapes, tokens), grown(shapes, tokens);
        int32_t done = 0;
        for (size_t i = 0; done < tokens && i < 4096; ++i) {
          const int32_t n = std::min(cuts[i % cuts.size()], tokens - done);
          grown.Extend(*backend, done, n);
          done += n;
          built.Clear();
          built.Extend(*reference, 0, done);
          ASSERT_EQ(built.keys, grown.keys) << "after token " << done;
          ASSERT_EQ(built.sigma, grown.sigma) << "after token " << done;
          ASSERT_EQ(built.carry, grown.carry) << "after token " << done;
          built.Clear();
          built.Extend(*backend, 0, done);
          ASSERT_EQ(built.keys, grown.keys) << "after token " << done;
        }
      }
    }
  }
}

TEST(pool_windows, SegmentsOfSeveralSequences) {
  const Shapes shapes{8, 4, 20, 2, DType::kF32, DType::kF32};
  for (const BackendCase& backend : BackendCases()) {
    const RandomTensor k(DType::kF32, {40, 2, 20}, 9);
    std::vector<KvRow> rows;
    for (int64_t i = 0; i < 80; ++i) rows.push_back({k.buffer.as<float>() + i * 20, nullptr, nullptr});
    const std::vector<PoolWindowsArgs::Segment> segments = {{0, 17, 23, 2}, {0, 0, 0, 0}, {0, 23, 0, 4}};
    TestVector<float> expected_keys(6 * 20 * kWindowTile), expected_carry(6 * 2 * 21), keys = expected_keys,
                                                                                       carry = expected_carry;
    const auto run = [&](Backend& b, TestVector<float>& to, TestVector<float>& sums) {
      std::vector<WindowState> states;
      for (size_t i = 0; i < 6; ++i)
        states.push_back({to.data() + i * 20 * kWindowTile, nullptr, sums.data() + i * 2 * 21});
      pool_windows(
          b, {},
          {segments, rows, states, 2, shapes.dim, shapes.kernel_size, shapes.kernel_stride, DType::kF32, DType::kF32});
    };
    run(*reference::MakeReferenceBackend(), expected_keys, expected_carry);
    run(*backend.make(), keys, carry);
    EXPECT_EQ(expected_keys, keys);
    EXPECT_EQ(expected_carry, carry);
    EXPECT_NE(keys[2 * 20 * kWindowTile], 0.0f);
  }
}

}  // namespace
}  // namespace nosa::ops

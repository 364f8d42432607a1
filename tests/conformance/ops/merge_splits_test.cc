#include "ops/merge_splits.h"

#include "attention_problem.h"

namespace nosa::ops {
namespace {

struct MergeShape {
  int rows, kv_heads, group, v_dim, splits;
  std::string Name() const {
    return fmt::format("R {} G {} g {} Dv {}, {} splits", rows, kv_heads, group, v_dim, splits);
  }
};

std::vector<MergeShape> Shapes() {
  std::vector<MergeShape> shapes;
  for (const int group : {16, 4, 3, 1}) {
    for (const int v_dim : {128, 64, 40, 5, 1}) {
      for (const int splits : {1, 2, 7, 17}) shapes.push_back({3, group > 4 ? 1 : 2, group, v_dim, splits});
    }
  }
  shapes.push_back({40, 8, 4, 128, 16});
  return shapes;
}

// Parts of every kind: ordinary ones, empty ones, some whose maximum is so low that nothing remains of them, and a lane
// with nothing at all.
OwnedStates RandomStates(const MergeShape& shape) {
  OwnedStates states(static_cast<int64_t>(shape.rows) * shape.kv_heads * shape.splits, shape.group, shape.v_dim);
  const Philox rng(17, static_cast<uint64_t>(shape.splits));
  for (int64_t i = 0; i < states.view.count; ++i) {
    const int64_t lane = i / shape.splits;
    if (lane == 1 || rng.Uniform(static_cast<uint64_t>(i)) < 0.2f) continue;
    for (int h = 0; h < shape.group; ++h) {
      const int64_t at = i * shape.group + h;
      const uint64_t draw = static_cast<uint64_t>(at) * 1024 + 1000;
      states.m[static_cast<size_t>(at)] = 8 * rng.Normal(draw) - (at % 13 == 5 ? 300.0f : 0.0f);
      states.l[static_cast<size_t>(at)] = 1 + 63 * rng.Uniform(draw + 1);
      for (int d = 0; d < shape.v_dim; ++d) {
        states.acc[static_cast<size_t>(at * shape.v_dim + d)] =
            states.l[static_cast<size_t>(at)] * rng.Normal(draw + 2 + static_cast<uint64_t>(d));
      }
    }
  }
  return states;
}

TestVector<float> Merge(Backend& backend, const MergeShape& shape, const PartialStates& states, int64_t gap = 0) {
  const int64_t heads = static_cast<int64_t>(shape.kv_heads) * shape.group, row = heads * shape.v_dim + gap;
  TestVector<float> out(static_cast<size_t>(shape.rows * row) + 1, 9.0f);
  merge_splits(backend, {},
               {states, shape.splits, shape.kv_heads,
                TensorView(out.data(), DType::kF32, {shape.rows, heads, shape.v_dim}, row)});
  return out;
}

// The twin against the sum written out, and every backend against the twin.
TEST(merge_splits, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const MergeShape& shape : Shapes()) {
    const OwnedStates states = RandomStates(shape);
    const TestVector<float> expected = Merge(*reference, shape, states.view);
    // |v| < 6; every part costs the rounding of its factor (whose argument, below 64 where it is not nothing, is
    // rounded too), two products and two sums.
    const double tolerance = 6 * (64 + 8.0 * (shape.splits + 1)) * 0x1p-24;
    for (const BackendCase& backend : BackendCases()) {
      SCOPED_TRACE(backend.name + " " + shape.Name());
      const TestVector<float> found = Merge(*backend.make(), shape, states.view);
      ASSERT_EQ(found.back(), 9.0f);
      for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(expected[i], found[i], tolerance) << i;
    }
  }
}

TEST(merge_splits, TwinIsTheWeightedMean) {
  for (const MergeShape& shape : Shapes()) {
    SCOPED_TRACE(shape.Name());
    const OwnedStates states = RandomStates(shape);
    const TestVector<float> out = Merge(*reference::MakeReferenceBackend(), shape, states.view);
    for (int64_t lane = 0; lane < static_cast<int64_t>(shape.rows) * shape.kv_heads; ++lane) {
      for (int64_t h = 0; h < shape.group; ++h) {
        std::vector<int64_t> parts;
        for (int64_t i = 0; i < shape.splits; ++i) parts.push_back((lane * shape.splits + i) * shape.group + h);
        double max = -INFINITY;
        for (const int64_t at : parts) max = std::max(max, static_cast<double>(states.m[static_cast<size_t>(at)]));
        for (int64_t d = 0; d < shape.v_dim; ++d) {
          double sum = 0, acc = 0;
          for (const int64_t at : parts) {
            if (max == -INFINITY) continue;
            const double weight = std::exp(static_cast<double>(states.m[static_cast<size_t>(at)]) - max);
            sum += weight * static_cast<double>(states.l[static_cast<size_t>(at)]);
            acc += weight * static_cast<double>(states.acc[static_cast<size_t>(at * shape.v_dim + d)]);
          }
          const double expected = sum == 0 ? 0 : acc / sum;
          ASSERT_NEAR(out[static_cast<size_t>((lane * shape.group + h) * shape.v_dim + d)], expected,
                      1e-6 * (1 + std::abs(expected)));
        }
      }
    }
  }
}

// A bf16 `out` is the f32 one rounded, wherever its rows lie; what lies between them stays.
TEST(merge_splits, Bf16OutputIsTheOtherRounded) {
  for (const auto& backend : BackendsAndReference()) {
    for (const MergeShape& shape : Shapes()) {
      const OwnedStates states = RandomStates(shape);
      const TestVector<float> exact = Merge(*backend, shape, states.view);
      for (const int64_t gap : {0, 3}) {
        SCOPED_TRACE(fmt::format("{} {} gap {}", backend->name(), shape.Name(), gap));
        const int64_t heads = static_cast<int64_t>(shape.kv_heads) * shape.group, row = heads * shape.v_dim;
        const BFloat16 untouched(9.0f);
        TestVector<BFloat16> out(static_cast<size_t>(shape.rows * (row + gap)) + 1, untouched);
        merge_splits(*backend, {},
                     {states.view, shape.splits, shape.kv_heads,
                      TensorView(out.data(), DType::kBF16, {shape.rows, heads, shape.v_dim}, row + gap)});
        for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
          const int64_t r = i / (row + gap), c = i % (row + gap);
          const bool written = r < shape.rows && c < row;
          const BFloat16 wanted = written ? BFloat16(exact[static_cast<size_t>(r * row + c)]) : untouched;
          ASSERT_EQ(out[static_cast<size_t>(i)].bits, wanted.bits) << i;
        }
      }
    }
  }
}

// What lies between the rows of `out` is not the op's.
TEST(merge_splits, RowsMayLieApart) {
  const MergeShape shape = {3, 2, 4, 40, 3};
  const OwnedStates states = RandomStates(shape);
  for (const auto& backend : BackendsAndReference()) {
    const TestVector<float> packed = Merge(*backend, shape, states.view),
                            apart = Merge(*backend, shape, states.view, 24);
    const size_t row = 8 * 40;
    for (size_t r = 0; r < 3; ++r) {
      for (size_t i = 0; i < row; ++i) ASSERT_EQ(apart[r * (row + 24) + i], packed[r * row + i]) << backend->name();
      for (size_t i = row; i < row + 24; ++i) ASSERT_EQ(apart[r * (row + 24) + i], 9.0f) << backend->name();
    }
  }
}

// A single part with l = 1 comes out as it went in; where all are empty, 0.
TEST(merge_splits, EmptyPartsChangeNothing) {
  for (const auto& backend : BackendsAndReference()) {
    const MergeShape shape = {2, 1, 1, 2, 3};
    OwnedStates states(6, 1, 2);
    states.m[1] = -3.5f;
    states.l[1] = 1.0f;
    states.acc[2] = 0.75f;
    states.acc[3] = -2.0f;
    const TestVector<float> out = Merge(*backend, shape, states.view);
    EXPECT_EQ(out, (TestVector<float>{0.75f, -2.0f, 0, 0, 9.0f})) << backend->name();
  }
}

}  // namespace
}  // namespace nosa::ops

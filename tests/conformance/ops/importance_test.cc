#include "ops/importance.h"

#include "compare.h"

namespace nosa::ops {
namespace {

// Largest error the contract allows at (m, g): the dot product's `width` roundings, each at most of the sum of
// magnitudes, pass through softplus with a slope of at most 1; softplus itself and the factor add six.
double Allowed(const RandomTensor& v, const RandomTensor& delta, const RandomTensor& a, int64_t m, int64_t g,
               double expected) {
  const int64_t width = delta.view.dim(1);
  double magnitude = 0;
  for (int64_t c = 0; c < width; ++c)
    magnitude += std::abs(static_cast<double>(v.At(m * width + c)) * delta.At(g * width + c));
  return kRounding * (static_cast<double>(width + 2) * magnitude * std::abs(a.At(g)) + 6 * std::abs(expected));
}

TEST(ImportanceTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const float scale : {0.2f, 5.0f, 1e4f}) {
        for (const auto& [heads, dim] :
             std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 15}, {3, 17}, {2, 64}, {8, 65}}) {
          for (const int64_t rows : {0, 1, 3, 200}) {
            SCOPED_TRACE(fmt::format("{} {} [{}, {}, {}] x {}", each.name, DTypeName(dtype), rows, heads, dim, scale));
            const RandomTensor v(DType::kF32, {rows, heads, dim}, 1, scale);
            const RandomTensor delta(dtype, {heads, heads * dim}, 2), a(dtype, {heads}, 3);
            const RandomTensor expected(DType::kF32, {rows, heads}, 4), actual(DType::kF32, {rows, heads}, 5);
            importance(*reference, {}, {.v = v.view, .delta = delta.view, .a = a.view, .s = expected.view});
            importance(*backend, {}, {.v = v.view, .delta = delta.view, .a = a.view, .s = actual.view});
            for (int64_t i = 0; i < rows * heads; ++i) {
              ASSERT_NEAR(actual.At(i), expected.At(i),
                          Allowed(v, delta, a, i / heads, i % heads, expected.At(i)) + 1e-44);
            }
          }
        }
      }
    }
  }
}

TEST(ImportanceTest, StableForAnyArgument) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    TestVector<float> v = {1e4f, -1e4f, 0.0f, -20.0f}, one = {1.0f}, s(4);
    importance(*backend, {},
               {.v = {v.data(), DType::kF32, {4, 1, 1}},
                .delta = {one.data(), DType::kF32, {1, 1}},
                .a = {one.data(), DType::kF32, {1}},
                .s = {s.data(), DType::kF32, {4, 1}}});
    EXPECT_EQ(s[0], 1e4f) << each.name;
    EXPECT_EQ(s[1], 0.0f) << each.name;
    EXPECT_FLOAT_EQ(s[2], 0.693147181f) << each.name;
    EXPECT_FLOAT_EQ(s[3], 2.06115362e-9f) << each.name;  // log(1 + e^x) would round to 0
  }
}

}  // namespace
}  // namespace nosa::ops

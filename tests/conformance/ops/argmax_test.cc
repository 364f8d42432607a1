#include "ops/argmax.h"

#include "compare.h"

namespace nosa::ops {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TestVector<TokenId> Largest(Backend& backend, const RandomTensor& logits) {
  TestVector<TokenId> ids(static_cast<size_t>(logits.view.rows()), -7);
  argmax(backend, {}, {.logits = logits.view, .ids = ids});
  return ids;
}

TEST(ArgmaxTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const int64_t width : {1, 15, 16, 17, 64, 65, 5000}) {
      for (const int64_t rows : {0, 1, 33}) {
        SCOPED_TRACE(fmt::format("{} [{}, {}]", each.name, rows, width));
        const RandomTensor logits(DType::kF32, {rows, width}, 1);
        for (int64_t i = 0; i < rows * width; ++i) {
          float& x = logits.view.row<float>(0)[i];
          x = std::round(x);  // many ties, zeros of both signs
          if (i % 7 == 3) x = kNan;
          if (i % 11 == 5) x = -INFINITY;
        }
        EXPECT_EQ(Largest(*backend, logits), Largest(*reference, logits));
      }
    }
  }
}

TEST(ArgmaxTest, TiesNanAndInfinities) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    for (const int64_t width : {2, 16, 17, 31, 70}) {
      SCOPED_TRACE(fmt::format("{} {}", each.name, width));
      const RandomTensor logits(DType::kF32, {7, width}, 1);
      for (int64_t i = 0; i < width; ++i) {
        const bool last = i + 1 == width;
        logits.view.row<float>(0)[i] = kNan;
        logits.view.row<float>(1)[i] = 2.0f;
        logits.view.row<float>(2)[i] = last ? -INFINITY : kNan;
        logits.view.row<float>(3)[i] = i == 0 ? kNan : -3.0f;
        logits.view.row<float>(4)[i] = last ? INFINITY : 1e38f;
        logits.view.row<float>(5)[i] = i == 0 ? -0.0f : 0.0f;
        logits.view.row<float>(6)[i] = -INFINITY;
      }
      const TokenId last = static_cast<TokenId>(width - 1);
      EXPECT_EQ(Largest(*backend, logits), (TestVector<TokenId>{0, 0, last, 1, last, 0, 0}));
    }
  }
}

}  // namespace
}  // namespace nosa::ops

#include "ops/swiglu.h"

#include "compare.h"

namespace nosa::ops {
namespace {

// Roundings: the exponential two units, so four halves; one each for the sum, the quotient and the product.
constexpr double kRelative = 8 * kRounding;
// Below exp(-88) the divisor overflows and the result is 0 where the twin still has a tiny number.
constexpr double kAbsolute = 1e-35;

TEST(SwigluTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const float scale : {1.0f, 30.0f, 1e4f}) {
      for (const int64_t width : {0, 1, 15, 16, 17, 64, 65, 1216}) {
        for (const int64_t rows : {0, 1, 3, 40}) {
          SCOPED_TRACE(fmt::format("{} [{}, {}] x {}", each.name, rows, width, scale));
          const Shape shape = {rows, width};
          const RandomTensor gate(DType::kF32, shape, 1, scale), up(DType::kF32, shape, 2);
          const RandomTensor expected(DType::kF32, shape, 3), actual(DType::kF32, shape, 4);
          swiglu(*reference, {}, {.gate = gate.view, .up = up.view, .y = expected.view});
          swiglu(*backend, {}, {.gate = gate.view, .up = up.view, .y = actual.view});
          ExpectClose(actual.view, expected.view, kRelative, kAbsolute);
          swiglu(*backend, {}, {.gate = gate.view, .up = up.view, .y = up.view});
          EXPECT_TRUE(SameBits(up.view, actual.view)) << "y is up";
        }
      }
    }
  }
}

TEST(SwigluTest, YMayBeGate) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const Shape shape = {3, 65};
    const RandomTensor gate(DType::kF32, shape, 1), up(DType::kF32, shape, 2), actual(DType::kF32, shape, 3);
    swiglu(*backend, {}, {.gate = gate.view, .up = up.view, .y = actual.view});
    swiglu(*backend, {}, {.gate = gate.view, .up = up.view, .y = gate.view});
    EXPECT_TRUE(SameBits(gate.view, actual.view)) << each.name;
  }
}

// A bf16 y is the f32 one rounded, wherever rows lie; what lies between them stays.
TEST(SwigluTest, Bf16OutputIsTheOtherRounded) {
  for (const TargetCase& each : TargetsAndReference()) {
    const auto backend = each.Make();
    for (const float scale : {1.0f, 30.0f, 1e4f}) {
      for (const int64_t width : {0, 1, 15, 16, 17, 64, 65, 1216}) {
        for (const int64_t gap : {0, 1, 8}) {
          SCOPED_TRACE(fmt::format("{} [3, {}] x {} gap {}", each.name, width, scale, gap));
          // Gate and up side by side, as one product leaves them.
          const RandomTensor both(DType::kF32, {3, 2 * width}, 1, scale);
          const TensorView gate(both.buffer.as<float>(), DType::kF32, {3, width}, 2 * width);
          const TensorView up(both.buffer.as<float>() + width, DType::kF32, {3, width}, 2 * width);
          const RandomTensor exact(DType::kF32, {3, width}, 3);
          const RandomTensor before(DType::kBF16, {3, width + gap}, 4), memory(DType::kBF16, {3, width + gap}, 4);
          const TensorView y(memory.buffer.data(), DType::kBF16, {3, width}, width + gap);
          swiglu(*backend, {}, {.gate = gate, .up = up, .y = exact.view});
          swiglu(*backend, {}, {.gate = gate, .up = up, .y = y});
          EXPECT_TRUE(SameAsRounded(y, exact.view));
          for (int64_t i = 0; i < 3 * gap; ++i) {
            const int64_t at = i / gap * (width + gap) + width + i % gap;
            EXPECT_EQ(memory.At(at), before.At(at)) << at;
          }
        }
      }
    }
  }
}

TEST(SwigluTest, RefusesABf16YOverItsInputs) {
  const auto backend = reference::MakeReferenceBackend();
  const RandomTensor gate(DType::kF32, {2, 8}, 1), up(DType::kF32, {2, 8}, 2);
  for (const RandomTensor* over : {&gate, &up}) {
    const TensorView y(over->buffer.data(), DType::kBF16, {2, 8});
    EXPECT_DEATH(swiglu(*backend, {}, {.gate = gate.view, .up = up.view, .y = y}),
                 over == &gate ? "overlaps gate" : "overlaps up");
  }
}

}  // namespace
}  // namespace nosa::ops

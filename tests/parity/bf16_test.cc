// How far bf16 arithmetic may move the logits, derived, and held from both sides: too far is a bug, too near says that
// nothing was rounded.
#include <cmath>

#include "io/safetensors.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

constexpr int kPositions = 8;

Outcome RunGolden(DType dtype, const std::string& attention, const std::string& backend = "cpu") {
  const auto goldens = *io::Safetensors::OpenFile(DemoModel() + "/goldens.safetensors");
  const ConstTensorView prompt = *goldens->Get("70.prompt");
  RigOptions options;
  options.backend = backend;
  options.load.dtype = dtype;
  options.engine.attention.selector = attention;
  const Rig rig = MakeRig(std::move(options));
  return RunRequest(*rig.engine,
                    {.prompt = {prompt.row<TokenId>(0), prompt.row<TokenId>(0) + prompt.shape().elements()},
                     .max_tokens = 1,
                     .ignore_eos = true,
                     .prompt_logits = kPositions});
}

struct Moments {
  double spread = 0;      // root mean square of the f32 logits about each position's mean
  double difference = 0;  // root mean square of bf16 - f32
  double worst = 0;
};

Moments Measure(const Outcome& f32, const Outcome& bf16) {
  Moments m;
  double count = 0;
  for (size_t p = 0; p < f32.logits.size(); ++p) {
    double mean = 0;
    for (const float x : f32.logits[p]) mean += x / static_cast<double>(f32.logits[p].size());
    for (size_t i = 0; i < f32.logits[p].size(); ++i, ++count) {
      const double d = static_cast<double>(bf16.logits[p][i]) - f32.logits[p][i];
      m.spread += (f32.logits[p][i] - mean) * (f32.logits[p][i] - mean);
      m.difference += d * d;
      m.worst = std::max(m.worst, std::abs(d));
    }
  }
  m.spread = std::sqrt(m.spread / count);
  m.difference = std::sqrt(m.difference / count);
  return m;
}

// The weights are bf16 as stored, so only activations round. bf16 keeps 8 bits: a value within [1, 2) 2^e moves by at
// most 2^-8 2^e, evenly spread, so by 2^-8 / sqrt(3) of 2^e and about kUnit of itself in the root mean square (2^e is
// the value over sqrt(7/3) in that mean, for values spread evenly over the binade). An error of a share e of a hidden
// state, in no particular direction, moves a logit (a product with a row that itself has no particular direction) by
// the share e of the logits' spread.
//  - Floor: the head's input is rounded in any case, e = kUnit.
//  - Ceiling: a layer rounds six things that enter the residual stream: the inputs of q/k/v, of o, of gate/up and of
//  down,
//    the cached k and the cached v. Each moves its branch by kUnit; a branch is at most about as large as the stream it
//    is added to; shares in no particular direction add as squares: sqrt(6 layers + 1). Branches are smaller than the
//    stream, which leaves room for what is not independent.
class Bf16Test : public testing::TestWithParam<std::string> {};

TEST_P(Bf16Test, LogitsMoveAsTheRoundingSays) {
  if (const std::string why = WhyNot(GetParam()); !why.empty()) GTEST_SKIP() << why;
  const double kUnit = 0x1p-8 / std::sqrt(3.0) / std::sqrt(7.0 / 3.0);
  for (const std::string attention : {"nosa", "full"}) {
    const Outcome f32 = RunGolden(DType::kF32, attention), bf16 = RunGolden(DType::kBF16, attention, GetParam());
    ASSERT_EQ(f32.logits.size(), static_cast<size_t>(kPositions));
    const Moments m = Measure(f32, bf16);
    const double floor = kUnit * m.spread, ceiling = std::sqrt(6.0 * 8 + 1) * kUnit * m.spread;
    std::printf("%s: spread %.2f; rms %.2e in [%.2e, %.2e]; max %.2e\n", attention.c_str(), m.spread, m.difference,
                floor, ceiling, m.worst);
    EXPECT_GE(m.difference, floor);
    EXPECT_LE(m.difference, ceiling);
    // 65,536 logits: the largest of as many normal errors is at 4.5 of their deviations; 8, for positions differ.
    EXPECT_LE(m.worst, 8 * ceiling);
    EXPECT_GE(m.worst, 2 * floor);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Bf16Test, testing::Values("cpu", "cuda"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace nosa::engine

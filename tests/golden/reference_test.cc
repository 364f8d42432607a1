// The reference against the committed goldens, which a float32 implementation of other hands computed.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "goldens.h"
#include "reference_model.h"

namespace nosa::reference {
namespace {

// The goldens are float32 through 8 layers: 2e-3 on logits of size 10 is about 1e3 roundings. Two models
// that differ in anything but rounding differ by tenths.
constexpr double kLogitTolerance = 2e-3;

const std::filesystem::path kModel = std::filesystem::path(NOSA_SOURCE_DIR) / "models/nosa-21m";

std::shared_ptr<const Weights> TheWeights() {
  static const auto weights = LoadWeights(kModel).value();
  return weights;
}

struct Case {
  std::string prompt;
  Mode mode;
};

std::string NameOf(const Case& c) { return (c.mode == Mode::kNosa ? "nosa_" : "full_") + c.prompt; }

class ReferenceTest : public ::testing::TestWithParam<Case> {};

TEST_P(ReferenceTest, AgreesWithTheGoldens) {
  const Golden golden = ReadGolden(kModel, GetParam().prompt, GetParam().mode == Mode::kNosa ? "nosa" : "full").value();
  Session session = Session::Create(TheWeights(), {.mode = GetParam().mode}).value();
  const Stopwatch watch;
  const bool loss = !golden.ppl_nll.empty();
  const Output output = session.Append(golden.prompt, {.logits_last = 8, .selection_last = 1, .loss = loss});
  const double seconds = watch.Seconds();

  ASSERT_EQ(output.logits.size(), golden.logits_last8.size());
  double difference = 0.0;
  for (size_t i = 0; i < output.logits.size(); ++i) {
    difference = std::max(difference, std::abs(output.logits[i] - static_cast<double>(golden.logits_last8[i])));
  }
  EXPECT_LE(difference, kLogitTolerance);

  const Greedy greedy = session.Continue(static_cast<int>(golden.greedy16.size()));
  EXPECT_EQ(greedy.tokens, golden.greedy16);

  if (GetParam().mode == Mode::kNosa) {
    ASSERT_EQ(golden.ppl_nll.size(), 1u);
    ASSERT_FALSE(golden.selected_last.empty());
    EXPECT_EQ(output.selections.at(0).selected, golden.selected_last);
    EXPECT_NEAR(output.mean_loss, static_cast<double>(golden.ppl_nll[0]), 1e-4);
  }
  fmt::print(
      "{}: max logit difference {:.2e}, loss {:.6f} (golden {:.6f}), smallest selection gap {:.2e}, "
      "smallest greedy margin {:.2e}, prompt {:.1f} s\n",
      NameOf(GetParam()), difference, output.mean_loss, loss ? golden.ppl_nll[0] : 0.0f,
      output.selections.at(0).SmallestGap(), *std::min_element(greedy.margin.begin(), greedy.margin.end()), seconds);
}

const auto kNames = [](const ::testing::TestParamInfo<Case>& info) { return NameOf(info.param); };
INSTANTIATE_TEST_SUITE_P(Short, ReferenceTest, ::testing::Values(Case{"70", Mode::kNosa}, Case{"70", Mode::kFull}),
                         kNames);
INSTANTIATE_TEST_SUITE_P(Long, ReferenceTest, ::testing::Values(Case{"2500", Mode::kNosa}, Case{"2500", Mode::kFull}),
                         kNames);

}  // namespace
}  // namespace nosa::reference

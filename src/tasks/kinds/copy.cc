// Passages of random words from early in the text, each to be repeated word by word.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tasks/plant.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

class Copy final : public Task {
 public:
  int max_questions() const override { return 8; }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_ASSIGN_OR_RETURN(std::vector<double> depths, QuestionDepths(options, max_questions()));
    if (options.depths.empty()) {
      for (double& depth : depths) depth *= kEarly;
    }
    const std::vector<std::string_view> keys = DrawNouns(depths.size(), options.seed);
    const auto words = static_cast<size_t>(std::clamp(options.tokens / kTokensPerWord, kLeastWords, kMostWords));
    Draws draws(options.seed, kTextStream);
    Plan plan;
    for (size_t i = 0; i < depths.size(); ++i) {
      // No word comes twice, so that what follows a word is in question between passages, never within one.
      std::vector<std::string_view> passage = Nouns();
      draws.Shuffle(&passage);
      const std::string begins = fmt::format("# The passage of {}:", keys[i]);
      const std::string text =
          fmt::format(" {}.", fmt::join(passage.begin(), passage.begin() + static_cast<std::ptrdiff_t>(words), " "));
      plan.Ask(filler.tokenizer(), "\n" + begins, text);
      plan.Evidence(filler.tokenizer(), begins + text, depths[i]);
    }
    return Plant(filler, options, std::move(plan));
  }

 private:
  static constexpr double kEarly = 0.25;  // of the text has the passages, unless depths are asked for
  // A word is two tokens and stands in the text and in the answer: a passage takes a sixteenth of a short text.
  static constexpr int kTokensPerWord = 64;
  static constexpr int kLeastWords = 8, kMostWords = 32;
};

}  // namespace

std::unique_ptr<Task> MakeCopy() { return std::make_unique<Copy>(); }

}  // namespace nosa::tasks

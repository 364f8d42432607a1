// Several facts about one word, asked for at once: one question that needs several places.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tasks/plant.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

class MultiValue final : public Task {
 public:
  int max_questions() const override { return static_cast<int>(Nouns().size()); }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_ASSIGN_OR_RETURN(const std::vector<double> first, QuestionDepths(options, max_questions()));
    const std::vector<std::string_view> words = DrawNouns(first.size(), options.seed);
    const std::vector<std::string> drawn = DrawNumbers(first.size() * kValues, options.seed);
    Plan plan;
    for (size_t i = 0; i < first.size(); ++i) {
      const auto numbers = std::span(drawn).subspan(i * kValues, kValues);
      // Planted lines keep the order of their depths, so this is the order of the text.
      plan.Ask(filler.tokenizer(), fmt::format("\n# The secret numbers of {} are", words[i]),
               fmt::format(" {}.", fmt::join(numbers, ", ")));
      const std::vector<double> depths = DepthsFrom(first[i], kValues, options.seed, static_cast<int>(i));
      for (size_t k = 0; k < kValues; ++k) {
        plan.Evidence(filler.tokenizer(), fmt::format("# A secret number of {} is {}.", words[i], numbers[k]),
                      depths[k]);
      }
    }
    return Plant(filler, options, std::move(plan));
  }

 private:
  static constexpr size_t kValues = 4;  // as RULER has it
};

}  // namespace

std::unique_ptr<Task> MakeMultiValue() { return std::make_unique<MultiValue>(); }

}  // namespace nosa::tasks

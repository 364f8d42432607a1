// Chains of assignments, "# VAR tiger = 12345" and later "# VAR river = tiger": which variables hold 12345?
//
// All of them are asked for, in order, rather than the value of the last one: an answer then writes down each step,
// and the next is one look-up from the token just written. The value alone would need as many look-ups in one pass as
// the chain has links, which a model of a few layers cannot do.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tasks/plant.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

class Variables final : public Task {
 public:
  int max_questions() const override { return static_cast<int>(Nouns().size() / kNames); }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_ASSIGN_OR_RETURN(const std::vector<double> asked, QuestionDepths(options, max_questions()));
    std::vector<double> first = asked;
    Draws draws(options.seed, kTextStream);
    while (first.size() < kChains) first.push_back(draws.Share());
    const std::vector<std::string_view> nouns = DrawNouns(first.size() * kNames, options.seed);
    const std::vector<std::string> numbers = DrawNumbers(first.size(), options.seed);
    Plan plan;
    for (size_t i = 0; i < first.size(); ++i) {
      const auto names = std::span(nouns).subspan(i * kNames, kNames);
      const std::vector<double> depths = DepthsFrom(first[i], kNames, options.seed, static_cast<int>(i));
      if (i < asked.size()) {
        plan.Ask(filler.tokenizer(), fmt::format("\n# Variables that hold {} are", numbers[i]),
                 fmt::format(" {}.", fmt::join(names, ", ")));
      }
      for (size_t k = 0; k < kNames; ++k) {
        const std::string_view value = k == 0 ? std::string_view(numbers[i]) : names[k - 1];
        plan.Evidence(filler.tokenizer(), fmt::format("# VAR {} = {}", names[k], value), depths[k]);
        if (i >= asked.size()) plan.lines.back().question = -1;
      }
    }
    return Plant(filler, options, std::move(plan));
  }

 private:
  static constexpr size_t kNames = 4;   // of a chain
  static constexpr size_t kChains = 4;  // at least, so that there is always something to mistake it for
};

}  // namespace

std::unique_ptr<Task> MakeVariables() { return std::make_unique<Variables>(); }

}  // namespace nosa::tasks

// Many facts, few of them asked for: the others are as near to the question as a wrong answer can be.
#include <algorithm>

#include "tasks/kinds/secrets.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

class MultiKey final : public Task {
 public:
  int max_questions() const override { return static_cast<int>(kKeys); }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_ASSIGN_OR_RETURN(const std::vector<double> depths, QuestionDepths(options, max_questions()));
    const text::Tokenizer& tokenizer = filler.tokenizer();
    const std::vector<std::string_view> words = DrawNouns(kKeys, options.seed);
    const std::vector<std::string> numbers = DrawNumbers(kKeys, options.seed);
    Plan plan = AskSecrets(tokenizer, words, numbers, depths);
    size_t planted = 0;
    for (const PlantedLine& line : plan.lines) planted += line.ids.size();
    Draws draws(options.seed, kTextStream);
    for (size_t i = depths.size(); i < kKeys; ++i) {
      PlantedLine line = {EncodePiece(tokenizer, SecretLine(words[i], numbers[i])), draws.Share()};
      planted += line.ids.size();
      if (static_cast<int64_t>(planted) * kShare > options.tokens) break;
      plan.lines.push_back(std::move(line));
    }
    return Plant(filler, options, std::move(plan));
  }

 private:
  // Of 40 nouns: which of them a text has still differs from text to text.
  static constexpr size_t kKeys = 32;
  // Fewer where they would take more than a quarter of the tokens: the facts are to be looked for in a text.
  static constexpr int64_t kShare = 4;
};

}  // namespace

std::unique_ptr<Task> MakeMultiKey() { return std::make_unique<MultiKey>(); }

}  // namespace nosa::tasks

// As many facts as questions, each of them asked for.
#include "tasks/kinds/secrets.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

class Facts final : public Task {
 public:
  int max_questions() const override { return static_cast<int>(Nouns().size()); }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_ASSIGN_OR_RETURN(const std::vector<double> depths, QuestionDepths(options, max_questions()));
    return Plant(filler, options,
                 AskSecrets(filler.tokenizer(), DrawNouns(depths.size(), options.seed),
                            DrawNumbers(depths.size(), options.seed), depths));
  }
};

}  // namespace

std::unique_ptr<Task> MakeFacts() { return std::make_unique<Facts>(); }

}  // namespace nosa::tasks

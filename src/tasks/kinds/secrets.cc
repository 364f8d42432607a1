#include "tasks/kinds/secrets.h"

#include <fmt/format.h>

#include "tasks/words.h"

namespace nosa::tasks {

Plan AskSecrets(const text::Tokenizer& tokenizer, std::span<const std::string_view> words,
                std::span<const std::string> numbers, std::span<const double> depths) {
  Plan plan;
  for (size_t i = 0; i < depths.size(); ++i) {
    plan.Ask(tokenizer, SecretQuestion(words[i]), fmt::format(" {}.", numbers[i]));
    plan.Evidence(tokenizer, SecretLine(words[i], numbers[i]), depths[i]);
  }
  return plan;
}

}  // namespace nosa::tasks

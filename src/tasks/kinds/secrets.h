// Planted facts of the form "# The secret number of WORD is NNNNN.", which two tasks ask for.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tasks/plant.h"

namespace nosa::tasks {

// Asks for the numbers of the first words, one at each depth. At least as many words and numbers as depths.
Plan AskSecrets(const text::Tokenizer& tokenizer, std::span<const std::string_view> words,
                std::span<const std::string> numbers, std::span<const double> depths);

}  // namespace nosa::tasks

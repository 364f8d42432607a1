// What planted lines are made of: nouns, numbers, and the sentences of planted facts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "text/tokenizer.h"

namespace nosa::tasks {

// Forty: those the demo model was trained with, so every task asks about words that a model of its kind has seen.
const std::vector<std::string_view>& Nouns();

// Different nouns, in a random order; n at most Nouns().size().
std::vector<std::string_view> DrawNouns(size_t n, uint64_t seed);
// Different numbers of five digits.
std::vector<std::string> DrawNumbers(size_t n, uint64_t seed);

// "# The secret number of WORD is NNNNN.", as in models/nosa-21m/MODEL_CARD.md.
std::string SecretLine(std::string_view word, std::string_view number);
// "\n# The secret number of WORD is"
std::string SecretQuestion(std::string_view word);

// A piece of text as it stands: nothing is added, and "</s>" is only text.
inline constexpr text::EncodeOptions kPiece = {.add_special_tokens = false, .parse_special_tokens = false};
std::vector<TokenId> EncodePiece(const text::Tokenizer& tokenizer, std::string_view text);

}  // namespace nosa::tasks

#include "tasks/words.h"

#include <fmt/format.h>

#include <set>

#include "tasks/shuffle.h"

namespace nosa::tasks {

const std::vector<std::string_view>& Nouns() {
  static const auto* const words = new std::vector<std::string_view>{
      "apple",  "river",  "tiger",  "castle", "window", "garden", "silver", "planet", "doctor",   "bridge",
      "candle", "forest", "marble", "pepper", "rocket", "violin", "walnut", "zebra",  "anchor",   "butter",
      "copper", "dragon", "engine", "falcon", "guitar", "hammer", "island", "jacket", "kettle",   "lemon",
      "mirror", "needle", "orange", "pillow", "quartz", "ribbon", "saddle", "tunnel", "umbrella", "velvet"};
  return *words;
}

std::vector<std::string_view> DrawNouns(size_t n, uint64_t seed) {
  const std::vector<size_t> order = ShuffledIndices(Nouns().size(), seed, kWordStream);
  NOSA_CHECK(n <= order.size(), "{} of {} nouns", n, order.size());
  std::vector<std::string_view> nouns;
  for (size_t i = 0; i < n; ++i) nouns.push_back(Nouns()[order[i]]);
  return nouns;
}

std::vector<std::string> DrawNumbers(size_t n, uint64_t seed) {
  Draws draws(seed, kNumberStream);
  std::set<uint32_t> drawn;
  std::vector<std::string> numbers;
  while (numbers.size() < n) {
    const uint32_t number = 10000 + draws.Below(90000);
    if (drawn.insert(number).second) numbers.push_back(std::to_string(number));
  }
  return numbers;
}

std::string SecretLine(std::string_view word, std::string_view number) {
  return fmt::format("# The secret number of {} is {}.", word, number);
}

std::string SecretQuestion(std::string_view word) { return fmt::format("\n# The secret number of {} is", word); }

std::vector<TokenId> EncodePiece(const text::Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.Encode(text, kPiece);
}

}  // namespace nosa::tasks

// Any bytes as a grammar or a JSON Schema: neither may crash, hang or read out of bounds.
// Input: one byte (odd: a schema), the text, a zero byte, bytes to match.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "text/grammar_matcher.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nosa::text;
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = input.find('\0');
  const std::string_view text = input.substr(0, cut);
  const auto grammar = (data[0] & 1) != 0 ? Grammar::FromJsonSchema(text, "fuzz") : Grammar::FromText(text, "fuzz");
  if (!grammar.ok()) return 0;
  GrammarMatcher matcher(std::make_shared<GrammarStates>(*grammar));
  for (const char byte : cut == input.npos ? std::string_view("{\"a\": 1}") : input.substr(cut + 1))
    (void)matcher.AcceptByte(static_cast<uint8_t>(byte));
  // What was accepted can go on or end.
  if (!matcher.CanEnd() && !matcher.CanGoOn()) __builtin_trap();
  return 0;
}

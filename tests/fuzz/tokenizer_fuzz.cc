// Any bytes as a tokenizer.json and a text: neither may crash, hang or read out of bounds.
// Input: one byte of options, the file, a zero byte, the text (without a zero byte: a fixed one).
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nosa::text;
  if (size == 0) return 0;
  const EncodeOptions options = {.add_special_tokens = (data[0] & 1) != 0, .parse_special_tokens = (data[0] & 2) != 0};
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = input.find('\0');
  const std::string_view text = cut == input.npos ? "I'm 12  \r\n e\xCC\x81\xFF <s>" : input.substr(cut + 1);

  const auto tokenizer = Tokenizer::FromJson(input.substr(0, cut), "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode(text, options);
  // What Encode gave out, Decode must take.
  if (!(*tokenizer)->Decode(ids, true).ok()) __builtin_trap();
  StreamingDetokenizer stream(*tokenizer);
  for (const nosa::TokenId id : ids) (void)stream.Push(id);
  (void)stream.Finish();
  return 0;
}

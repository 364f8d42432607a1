// Any bytes as a chat template and its context: neither may crash, hang or read out of bounds.
// Input: the template, a zero byte, the context as JSON (without a zero byte: a fixed one).
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nosa;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');
  constexpr std::string_view kContext =
      R"({"messages": [{"role": "user", "content": "a\u00e9 b"}, {"role": "assistant", "content": null, "n": [1, 2.5]}],
          "tools": [{"type": "function", "function": {"name": "f"}}], "bos_token": "<s>", "yes": true})";
  const auto json = io::ParseJson(cut == input.npos ? kContext : input.substr(cut + 1), "fuzz");
  if (!json.ok()) return 0;
  const auto parsed = text::ChatTemplate::Parse(input.substr(0, cut));
  if (!parsed.ok()) return 0;
  // Small bounds, so that reaching them is quick.
  const text::RenderLimits limits = {.max_steps = 100'000, .max_value_bytes = 16 << 20, .max_output_bytes = 1 << 16};
  const auto rendered = parsed->Render(io::OrderedJson(*json), limits, [] { return std::time_t{0}; });
  if (rendered.ok() && rendered->size() > limits.max_output_bytes) __builtin_trap();
  return 0;
}

// Patterns over well-formed UTF-8, through PCRE2. The only header that stands for that library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/function_ref.h"
#include "base/status.h"

namespace nosa::text {

// Immutable, thread-safe: what a match needs lives on the caller's side.
class Regex {
 public:
  // `pattern` in the syntax of tokenizer.json. kInvalidArgument with PCRE2's reason and the place,
  // kUnimplemented for what TranslatePattern refuses.
  static Result<Regex> Compile(std::string_view pattern);
  // Matches `text` itself.
  static Result<Regex> Literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // Calls on_match(begin, end) in bytes for every match from left to right, none overlapping, no empty one
  // right behind another match. A search that passes PCRE2's limits (ten million steps, kHeapLimit) counts as
  // "no match in the rest", so that no text can make it run without end.
  void ForEachMatch(std::string_view text, FunctionRef<void(size_t begin, size_t end)> on_match) const;

 private:
  struct Impl;
  explicit Regex(std::unique_ptr<Impl> impl);
  static Result<Regex> CompileFor(std::string_view pattern, uint32_t options);

  std::unique_ptr<Impl> impl_;
};

}  // namespace nosa::text

#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>

#include "text/regex_syntax.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

// Real patterns have a few hundred bytes.
constexpr size_t kMaxPatternBytes = 1 << 16;
// Memory one match may take, in KiB as PCRE2 counts.
constexpr uint32_t kHeapLimit = 256 * 1024;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;

PCRE2_SPTR Units(std::string_view s) { return reinterpret_cast<PCRE2_SPTR>(s.data()); }

}  // namespace

struct Regex::Impl {
  Code code;
  MatchContext context;  // never changed after Compile, so threads may share it
  bool jit = false;

  // First match at or behind `start`; false when there is none.
  bool Find(std::string_view text, size_t start, pcre2_match_data* data) const {
    // The text is known to be well-formed; checking it on each call would cost its square.
    const uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = jit ? pcre2_jit_match(code.get(), Units(text), text.size(), start, options, data, context.get())
                 : PCRE2_ERROR_JIT_STACKLIMIT;
    // Compiled patterns run on 32 KiB of stack; the few searches that need more are interpreted, on the heap.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code.get(), Units(text), text.size(), start, options | PCRE2_NO_JIT, data, context.get());
    return rc >= 0;
  }
};

Regex::Regex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes)
    return InvalidArgument("a regular expression has {} bytes, expected at most {}", pattern.size(), kMaxPatternBytes);
  NOSA_ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern));
  return CompileFor(translated, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
}

Result<Regex> Regex::Literal(std::string_view text) { return CompileFor(text, PCRE2_UTF | PCRE2_LITERAL); }

Result<Regex> Regex::CompileFor(std::string_view pattern, uint32_t options) {
  CompileContext compile(pcre2_compile_context_create(nullptr));
  auto impl = std::make_unique<Impl>();
  impl->context.reset(pcre2_match_context_create(nullptr));
  if (!compile || !impl->context) return ResourceExhausted("no memory for a regular expression");
  pcre2_set_newline(compile.get(), PCRE2_NEWLINE_LF);
  pcre2_set_heap_limit(impl->context.get(), kHeapLimit);
  int error = 0;
  size_t offset = 0;
  impl->code.reset(pcre2_compile(Units(pattern), pattern.size(), options, &error, &offset, compile.get()));
  if (!impl->code) {
    std::array<PCRE2_UCHAR, 256> reason{};
    pcre2_get_error_message(error, reason.data(), reason.size());
    return InvalidArgument("the regular expression \"{}\" is wrong at byte {}: {}", pattern, offset,
                           reinterpret_cast<const char*>(reason.data()));
  }
  impl->jit = pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::move(impl));
}

void Regex::ForEachMatch(std::string_view text, FunctionRef<void(size_t begin, size_t end)> on_match) const {
  // One pair: only the whole match is of interest.
  const MatchData data(pcre2_match_data_create(1, nullptr));
  NOSA_CHECK(data != nullptr, "no memory for a match");
  const size_t* place = pcre2_get_ovector_pointer(data.get());
  size_t start = 0;
  size_t last_end = std::string_view::npos;
  while (start <= text.size() && impl_->Find(text, start, data.get())) {
    const size_t begin = place[0];
    const size_t end = place[1];
    if (begin < start || end < begin) return;  // only \K could do this, and it is refused
    if (begin == end && end == last_end) {
      // Empty and right behind the last match: look again one character on.
      start += start < text.size() ? DecodeUtf8(text.substr(start)).bytes : 1;
      continue;
    }
    on_match(begin, end);
    start = last_end = end;
  }
}

}  // namespace nosa::text

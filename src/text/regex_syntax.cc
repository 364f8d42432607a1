#include "text/regex_syntax.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace nosa::text {
namespace {

// \w of Oniguruma under Unicode, with the superscripts and fractions of Latin-1, which its table for small
// characters adds; PCRE2's has no marks and no connectors but "_".
constexpr std::string_view kWordSet = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\xb2\xb3\xb9\xbc-\xbe)";

// Escapes of letters that mean the same on both sides.
constexpr std::string_view kSameEscapes = "aefnrtAzZdD";

// Openings of groups that mean the same on both sides.
constexpr std::array<std::string_view, 7> kSameGroups = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern), whole_(pattern) {}

  Result<std::string> Run() {
    if (Take("(?i)")) out_ += "(?i)";  // elsewhere it reaches past "|" in Ruby and not in Perl
    while (!rest_.empty()) NOSA_RETURN_IF_ERROR(in_class_ ? ClassItem() : Item());
    return std::move(out_);
  }

 private:
  Status No(std::string_view construct) const {
    return Unimplemented("\"{}\" in the regular expression \"{}\" is not supported", construct, whole_);
  }

  bool Take(std::string_view prefix) {
    if (!rest_.starts_with(prefix)) return false;
    rest_.remove_prefix(prefix.size());
    return true;
  }

  void Copy(size_t count) {
    out_ += rest_.substr(0, count);
    rest_.remove_prefix(std::min(count, rest_.size()));
  }

  Status Item() {
    switch (rest_[0]) {
      case '\\': return Escape();
      case '(': return Group();
      case '{': return Interval();
      case '[':
        in_class_ = true;
        Copy(rest_.starts_with("[^") ? 2 : 1);
        if (rest_.starts_with(']')) Copy(1);  // a first "]" is a member
        return Status::Ok();
      default: Copy(1); return Status::Ok();
    }
  }

  Status ClassItem() {
    if (rest_[0] == '\\') return Escape();
    if (rest_[0] == '[') return No("[ inside [...]");
    if (rest_.starts_with("&&")) return No("&&");
    if (rest_[0] == ']') in_class_ = false;
    Copy(1);
    return Status::Ok();
  }

  Status Group() {
    if (rest_.starts_with("(*")) return No("(*");
    if (rest_.starts_with("(?")) {
      for (const std::string_view group : kSameGroups) {
        if (!Take(group)) continue;
        out_ += group;
        return Status::Ok();
      }
      return No(rest_.substr(0, 3));
    }
    Copy(1);
    return Status::Ok();
  }

  // {n}, {n,} and {n,m}. In Ruby {n}? means "n or none" and {n,m}+ repeats the whole; {,m} is {0,m}.
  Status Interval() {
    const size_t end = rest_.find('}');
    const std::string_view body = rest_.substr(1, end == rest_.npos ? end : end - 1);
    if (end == rest_.npos || body.empty() || body.find_first_not_of("0123456789,") != body.npos) {
      out_ += "\\{";  // not an interval: a literal brace
      rest_.remove_prefix(1);
      return Status::Ok();
    }
    if (body[0] == ',') return No("{,");
    const std::string_view after = rest_.substr(end + 1, 1);
    const bool odd = after == "+" || after == "*" || (after == "?" && body.find(',') == body.npos);
    if (odd) return No(fmt::format("}}{}", after));
    Copy(end + 1);
    return Status::Ok();
  }

  Status Escape() {
    if (rest_.size() < 2) {
      Copy(1);
      return Status::Ok();
    }
    const char c = rest_[1];
    const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alphanumeric || kSameEscapes.find(c) != kSameEscapes.npos) {
      Copy(2);
      return Status::Ok();
    }
    if (c == 'x' || c == 'u') return CodePoint();
    if (c == 'p' || c == 'P') return Property();
    rest_.remove_prefix(2);
    return in_class_ ? ClassEscape(c) : PlainEscape(c);
  }

  Status PlainEscape(char c) {
    const std::string word = fmt::format("[{}]", kWordSet);
    switch (c) {
      case 's': out_ += R"(\p{White_Space})"; break;
      case 'S': out_ += R"(\P{White_Space})"; break;
      case 'w': out_ += word; break;
      case 'W': out_ += fmt::format("[^{}]", kWordSet); break;
      case 'b': out_ += fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word); break;
      case 'B': out_ += fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word); break;
      case 'h': out_ += "[0-9a-fA-F]"; break;
      case 'H': out_ += "[^0-9a-fA-F]"; break;
      case 'v': out_ += R"(\x0b)"; break;
      default: return No(fmt::format("\\{}", c));
    }
    return Status::Ok();
  }

  Status ClassEscape(char c) {
    switch (c) {
      case 's': out_ += R"(\p{White_Space})"; break;
      case 'S': out_ += R"(\P{White_Space})"; break;
      case 'w': out_ += kWordSet; break;
      case 'b': out_ += R"(\x08)"; break;
      case 'h': out_ += "0-9a-fA-F"; break;
      case 'v': out_ += R"(\x0b)"; break;
      default: return No(fmt::format("\\{} inside [...]", c));
    }
    return Status::Ok();
  }

  // \p{Name} or \p{^Name}. PCRE2 knows fewer names and says so.
  Status Property() {
    const size_t end = rest_.find('}');
    if (rest_.substr(2, 1) != "{" || end == rest_.npos) return No(rest_.substr(0, 3));
    Copy(end + 1);
    return Status::Ok();
  }

  // \x{H...}, \xHH and \uHHHH.
  Status CodePoint() {
    const bool braces = rest_.starts_with("\\x{");
    const size_t begin = braces ? 3 : 2;
    const size_t most = braces ? 8 : rest_[1] == 'u' ? 4 : 2;
    size_t end = begin;
    while (end < rest_.size() && end - begin < most && std::isxdigit(static_cast<unsigned char>(rest_[end]))) ++end;
    const std::string_view digits = rest_.substr(begin, end - begin);
    const bool closed = !braces || rest_.substr(end).starts_with('}');
    // Without braces \x names one byte of UTF-8, which is a character only below 80.
    const bool byte = !braces && rest_[1] == 'x' && digits.size() == 2 && digits[0] > '7';
    const bool cut = rest_[1] == 'u' && digits.size() < 4;
    if (digits.empty() || !closed || byte || cut) return No(rest_.substr(0, begin + 2));
    out_ += fmt::format("\\x{{{}}}", digits);
    rest_.remove_prefix(end + (braces ? 1 : 0));
    return Status::Ok();
  }

  std::string_view rest_;
  std::string_view whole_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> TranslatePattern(std::string_view onig) { return Translator(onig).Run(); }

}  // namespace nosa::text

#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "text/jinja/budget.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text::jinja {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || IsDigit(c) || c == '_' || (c & 0x80) != 0;
}

// Every line end as "\n", and none at the end of the template.
std::string NormalizeLineEnds(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeLineEnds(source)) {}

  std::vector<Token> Run() {
    while (place_ < source_.size()) TextAndTag();
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return std::string_view(source_).substr(place_); }
  void Advance(size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(place_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(place_ + bytes), '\n'));
    place_ += bytes;
  }
  void SkipSpace() { Advance(std::min(Rest().find_first_not_of(kSpace), Rest().size())); }
  void Add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  [[noreturn]] void FailHere(std::string message) { throw TemplateError{std::move(message), line_}; }

  void TextAndTag() {
    size_t begin = place_;
    while ((begin = source_.find('{', begin)) != source_.npos) {
      if (begin + 1 < source_.size() && std::string_view("{%#").find(source_[begin + 1]) != std::string_view::npos)
        break;
      ++begin;
    }
    if (begin == source_.npos) {
      Text(Rest());
      return Advance(Rest().size());
    }
    const char tag = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    Text(StripBefore(Rest().substr(0, begin - place_), tag, sign));
    Advance(begin - place_ + (sign == '-' || sign == '+' ? 3 : 2));
    if (tag == '#') return Comment();
    if (tag == '{') return Inside(TokenKind::kPrintBegin, TokenKind::kPrintEnd, "}}");
    if (RawBegins()) return Raw();
    Inside(TokenKind::kBlockBegin, TokenKind::kBlockEnd, "%}");
  }

  void Text(std::string_view text) {
    if (!text.empty()) Add(TokenKind::kText, std::string(text));
  }

  // The text before a tag: "-" takes all whitespace off its end, a block or comment without "+" its indentation.
  std::string_view StripBefore(std::string_view text, char tag, char sign) const {
    const size_t end = text.find_last_not_of(kSpace);
    if (sign == '-') return text.substr(0, end == text.npos ? 0 : end + 1);
    if (sign == '+' || tag == '{') return text;
    const size_t line = text.rfind('\n') + 1;  // 0 when there is none
    const bool only_space = text.find_first_not_of(kSpace, line) == text.npos;
    return only_space && (line > 0 || LineStarts()) ? text.substr(0, line) : text;
  }
  bool LineStarts() const { return place_ == 0 || source_[place_ - 1] == '\n'; }

  // How many bytes the end of a tag takes here, with what it strips behind itself; 0 when there is none.
  size_t EndOfTag(std::string_view end, bool trims) const {
    const std::string_view rest = Rest();
    if (rest.starts_with('-') && rest.substr(1).starts_with(end)) {
      return std::min(rest.find_first_not_of(kSpace, 1 + end.size()), rest.size());
    }
    if (trims && rest.starts_with('+') && rest.substr(1).starts_with(end)) return 1 + end.size();
    if (!rest.starts_with(end)) return 0;
    return end.size() + (trims && rest.substr(end.size()).starts_with('\n') ? 1 : 0);
  }

  void Comment() {
    while (place_ < source_.size()) {
      if (const size_t end = EndOfTag("#}", true)) return Advance(end);
      Advance(1);
    }
    FailHere("a comment is not closed with \"#}\"");
  }

  // After "{%": whether " raw %}" follows; steps over it if so.
  bool RawBegins() {
    std::string_view rest = Rest();
    const auto skip_space = [&] { rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size())); };
    skip_space();
    if (!rest.starts_with("raw")) return false;
    rest.remove_prefix(3);
    skip_space();
    const bool strips = rest.starts_with("-%}");
    if (!strips && !rest.starts_with("%}")) return false;
    rest.remove_prefix(strips ? 3 : 2);
    if (strips) skip_space();
    Advance(Rest().size() - rest.size());
    return true;
  }

  void Raw() {
    const size_t from = place_;
    for (size_t tag = from; (tag = source_.find("{%", tag)) != source_.npos; ++tag) {
      size_t i = tag + 2;
      const char sign = i < source_.size() ? source_[i] : '\0';
      if (sign == '-' || sign == '+') ++i;
      i = std::min(source_.find_first_not_of(kSpace, i), source_.size());
      if (source_.compare(i, 6, "endraw") != 0) continue;
      Text(StripBefore(std::string_view(source_).substr(from, tag - from), '%', sign));
      Advance(std::min(source_.find_first_not_of(kSpace, i + 6), source_.size()) - place_);
      const size_t end = EndOfTag("%}", true);
      if (end == 0) FailHere("the tag endraw is not closed with \"%}\"");
      return Advance(end);
    }
    FailHere("a raw block is not closed with endraw");
  }

  void Inside(TokenKind begin, TokenKind end, std::string_view closing) {
    Add(begin, "");
    std::string open;  // brackets; within them "}}" closes two dicts
    while (true) {
      SkipSpace();
      if (place_ == source_.size()) FailHere(fmt::format("a tag is not closed with \"{}\"", closing));
      if (open.empty()) {
        if (const size_t bytes = EndOfTag(closing, end == TokenKind::kBlockEnd)) {
          Add(end, "");
          return Advance(bytes);
        }
      }
      const char c = source_[place_];
      if (IsDigit(c)) {
        Number();
      } else if (IsNameByte(c)) {
        Name();
      } else if (c == '"' || c == '\'') {
        String(c);
      } else {
        Operator(&open);
      }
    }
  }

  void Name() {
    const std::string_view rest = Rest();
    size_t size = 0;
    while (size < rest.size() && IsNameByte(rest[size])) {
      const Utf8Step step = DecodeUtf8(rest.substr(size));
      if (step.code_point >= 0x80 && !IsWordCharacter(step.code_point)) break;
      size += step.bytes;
    }
    if (size == 0) FailHere(fmt::format("unexpected character \"{}\"", rest.substr(0, DecodeUtf8(rest).bytes)));
    Add(TokenKind::kName, std::string(rest.substr(0, size)));
    Advance(size);
  }

  // Digits with single "_" between them.
  size_t Digits(size_t at, std::string_view allowed) const {
    size_t end = at;
    while (end < source_.size()) {
      const bool joined =
          source_[end] == '_' && end > at && end + 1 < source_.size() && allowed.find(source_[end + 1]) != allowed.npos;
      if (!joined && allowed.find(source_[end]) == allowed.npos) break;
      ++end;
    }
    return end - at;
  }

  void Number() {
    constexpr std::string_view kDecimal = "0123456789";
    const size_t start = place_;
    const auto at = [&](size_t i) { return i < source_.size() ? source_[i] : '\0'; };
    if (at(start) == '0' && std::string_view("xXoObB").find(at(start + 1)) != std::string_view::npos) {
      const char base = static_cast<char>(at(start + 1) | 0x20);
      const size_t skip = at(start + 2) == '_' ? 3 : 2;
      const size_t size = Digits(start + skip, base == 'x'   ? "0123456789abcdefABCDEF"
                                               : base == 'o' ? "01234567"
                                                             : "01");
      if (size > 0) return AddNumber(TokenKind::kInteger, skip + size);
    }
    size_t end = start + Digits(start, kDecimal);
    const size_t whole = end;
    if (at(end) == '.' && IsDigit(at(end + 1))) end += 1 + Digits(end + 1, kDecimal);
    if ((at(end) | 0x20) == 'e') {
      const size_t sign = at(end + 1) == '+' || at(end + 1) == '-' ? 2 : 1;
      if (const size_t digits = Digits(end + sign, kDecimal)) end += sign + digits;
    }
    if (end == whole && at(start) == '0') end = start + Digits(start, "0");
    AddNumber(end == whole || end < whole ? TokenKind::kInteger : TokenKind::kFloat, end - start);
  }
  void AddNumber(TokenKind kind, size_t size) {
    std::string digits(Rest().substr(0, size));
    std::erase(digits, '_');
    Add(kind, std::move(digits));
    Advance(size);
  }

  void String(char quote) {
    size_t end = place_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) FailHere("a string is not closed");
    Add(TokenKind::kString, Unescape(std::string_view(source_).substr(place_ + 1, end - place_ - 1)));
    Advance(end + 1 - place_);
  }

  std::string Unescape(std::string_view raw) {
    std::string out;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\' || i + 1 == raw.size()) {
        out += raw[i];
        continue;
      }
      i += Escape(raw.substr(i + 1), &out);
    }
    return out;
  }

  // What follows a backslash; returns how many bytes it took.
  size_t Escape(std::string_view rest, std::string* out) {
    constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char c = rest[0];
    if (c == '\n') return 1;
    if (const size_t place = kLetters.find(c); place != kLetters.npos) {
      *out += kMeanings[place];
      return 1;
    }
    if (c >= '0' && c <= '7') {
      const size_t size = std::min(std::min(rest.find_first_not_of("01234567"), rest.size()), size_t{3});
      AppendCode(std::stoul(std::string(rest.substr(0, size)), nullptr, 8), out);
      return size;
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      *out += '\\';
      return 0;
    }
    const std::string_view hex = rest.substr(1, digits);
    if (hex.size() < digits || hex.find_first_not_of("0123456789abcdefABCDEF") != hex.npos) {
      FailHere(fmt::format("the escape \"\\{}\" of a string has too few digits", c));
    }
    AppendCode(std::stoul(std::string(hex), nullptr, 16), out);
    return 1 + digits;
  }
  void AppendCode(unsigned long code, std::string* out) {
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) FailHere("an escape of a string is no character");
    AppendUtf8(static_cast<char32_t>(code), out);
  }

  void Operator(std::string* open) {
    static constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto it = std::find_if(kOperators.begin(), kOperators.end(),
                                 [&](std::string_view candidate) { return Rest().starts_with(candidate); });
    if (it == kOperators.end()) FailHere(fmt::format("unexpected character \"{}\"", Rest().substr(0, 1)));
    const char c = (*it)[0];
    if (c == '(' || c == '[' || c == '{') *open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (!open->ends_with(c)) FailHere(fmt::format("unexpected \"{}\"", c));
      open->pop_back();
    }
    Add(TokenKind::kOperator, std::string(*it));
    Advance(it->size());
  }

  const std::string source_;
  size_t place_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace nosa::text::jinja

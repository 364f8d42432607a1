#include "text/json_pattern.h"

#include <algorithm>

#include "text/utf8.h"

namespace nosa::text {
namespace {

constexpr int kMostNested = 100;
constexpr int kMostRepeated = 10'000;

const CodeRanges kDigit = {{'0', '9'}};
const CodeRanges kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodeRanges kSpaces = {{'\t', '\r'}, {' ', ' '}};
// Dialects differ in whether \D, \W and \S have the letters and digits of other alphabets, so nothing beyond ASCII is
// written for them.
const CodeRanges kAscii = {{0, 0x7F}};

class Parser {
 public:
  Parser(std::string_view text, JsonRules* json) : text_(text), json_(json) {}

  Result<ExprPtr> Parse() {
    std::vector<ExprPtr> alternatives;
    const ExprPtr anything = Repeat(json_->Plain(Complement({})), 0, kUnbounded);
    do {
      std::vector<ExprPtr> parts;
      if (!Take('^')) parts.push_back(anything);
      NOSA_ASSIGN_OR_RETURN(ExprPtr inner, Parts(0));
      parts.push_back(std::move(inner));
      if (!Take('$')) parts.push_back(anything);
      alternatives.push_back(Sequence(std::move(parts)));
    } while (Take('|'));
    if (!done())
      return Error(
          "^ and $ are supported at the ends of the expression and of its outermost alternatives, "
          "and ) needs its (");
    return Choice(std::move(alternatives));
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  bool Take(char c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status Error(std::string_view what) const { return InvalidArgument("byte {} of the pattern: {}", at_, what); }

  Result<ExprPtr> Parts(int nested) {
    std::vector<ExprPtr> parts;
    while (!done() && std::string_view("|)$^").find(peek()) == std::string_view::npos) {
      NOSA_ASSIGN_OR_RETURN(ExprPtr part, Atom(nested));
      NOSA_ASSIGN_OR_RETURN(part, Repetition(std::move(part)));
      parts.push_back(std::move(part));
    }
    return parts.empty() ? Literal("") : Sequence(std::move(parts));
  }

  Result<ExprPtr> Atom(int nested) {
    if (Take('(')) return Group(nested);
    if (Take('[')) return Brackets();
    if (Take('.')) return json_->Plain(Complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
    if (std::string_view("*+?{}]").find(peek()) != std::string_view::npos)
      return Error("a sign of repetition or a closing bracket without what it belongs to; write \\ before it");
    NOSA_ASSIGN_OR_RETURN(const CodeRanges ranges, Characters());
    return json_->Plain(ranges);
  }

  Result<ExprPtr> Group(int nested) {
    if (nested >= kMostNested) return Error(fmt::format("more than {} groups inside each other", kMostNested));
    if (Take('?') && !Take(':')) return Error("of the groups that begin with (? only (?: is supported");
    std::vector<ExprPtr> alternatives;
    do {
      NOSA_ASSIGN_OR_RETURN(ExprPtr parts, Parts(nested + 1));
      alternatives.push_back(std::move(parts));
    } while (Take('|'));
    if (!Take(')')) return Error("expected )");
    return Choice(std::move(alternatives));
  }

  Result<ExprPtr> Repetition(ExprPtr part) {
    int min = 0, max = kUnbounded;
    if (Take('?')) {
      max = 1;
    } else if (Take('+')) {
      min = 1;
    } else if (Take('{')) {
      NOSA_ASSIGN_OR_RETURN(min, Number());
      max = min;
      if (Take(',')) {
        max = kUnbounded;
        if (peek() != '}') {
          NOSA_ASSIGN_OR_RETURN(max, Number());
        }
      }
      if (!Take('}') || (max != kUnbounded && max < min)) return Error("expected {m}, {m,} or {m,n} with m up to n");
    } else if (!Take('*')) {
      return part;
    }
    Take('?');  // as few as possible: the same strings
    return Repeat(std::move(part), min, max);
  }
  Result<int> Number() {
    int value = 0;
    const size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + (peek() - '0');
      if (value > kMostRepeated) return Error(fmt::format("more than {} repetitions", kMostRepeated));
    }
    if (at_ == begin) return Error("expected a number");
    return value;
  }

  // One character, or the set that \d, \w, \s stand for.
  Result<CodeRanges> Characters() {
    if (!Take('\\')) {
      const Utf8Step step = DecodeUtf8(text_.substr(at_));
      if (!step.ok) return Error("not UTF-8");
      at_ += step.bytes;
      return CodeRanges{{step.code_point, step.code_point}};
    }
    if (done()) return Error("the pattern ends after a backslash");
    const char c = text_[at_++];
    const auto one = [](char32_t value) { return CodeRanges{{value, value}}; };
    switch (c) {
      case 'd': return kDigit;
      case 'w': return kWord;
      case 's': return kSpaces;
      case 'D': return Intersect(Complement(kDigit), kAscii);
      case 'W': return Intersect(Complement(kWord), kAscii);
      case 'S': return Intersect(Complement(kSpaces), kAscii);
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 't': return one('\t');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case 'x': return Hex(2);
      case 'u': return Hex(4);
      default: break;
    }
    if (std::string_view("^$\\.*+?()[]{}|/-").find(c) != std::string_view::npos) return one(static_cast<char32_t>(c));
    --at_;
    return Error("this escape is not supported");
  }
  Result<CodeRanges> Hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const size_t digit = done() ? 16 : std::string_view("0123456789abcdef").find(static_cast<char>(peek() | 0x20));
      if (digit >= 16) return Error(fmt::format("expected {} hexadecimal digits", digits));
      value = value * 16 + static_cast<char32_t>(digit);
    }
    if (value >= 0xD800 && value <= 0xDFFF) return Error("half of a surrogate pair is no character");
    return CodeRanges{{value, value}};
  }

  Result<ExprPtr> Brackets() {
    const bool negated = Take('^');
    CodeRanges ranges;
    while (!Take(']')) {
      if (done()) return Error("expected ]");
      NOSA_ASSIGN_OR_RETURN(CodeRanges set, Characters());
      const bool single = set.size() == 1 && set.front().first == set.front().second;
      if (peek() == '-' && text_.substr(at_ + 1, 1) != "]" && single) {
        Take('-');
        NOSA_ASSIGN_OR_RETURN(const CodeRanges last, Characters());
        if (last.size() != 1 || last.front().first != last.front().second || last.front().first < set.front().first)
          return Error("expected a range of characters from a lower one to a higher one");
        set.front().second = last.front().second;
      }
      ranges.insert(ranges.end(), set.begin(), set.end());
    }
    ranges = Normalize(std::move(ranges));
    return json_->Plain(negated ? Complement(ranges) : ranges);
  }

  std::string_view text_;
  size_t at_ = 0;
  JsonRules* json_;
};

// Every day of RFC 3339 from the year 1000 on, but for 29 February, which not every year has.
constexpr std::string_view kDate =
    "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))";
constexpr std::string_view kTime =
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
constexpr std::string_view kUuid = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
constexpr std::string_view kByte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

}  // namespace

Result<ExprPtr> PatternExpr(std::string_view pattern, JsonRules* json) { return Parser(pattern, json).Parse(); }

ExprPtr FormatExpr(std::string_view format, JsonRules* json) {
  const auto whole = [&](const std::string& inner) { return PatternExpr("^" + inner + "$", json).value(); };
  if (format == "date") return whole(std::string(kDate));
  if (format == "time") return whole(std::string(kTime));
  if (format == "date-time") return whole(fmt::format("{}T{}", kDate, kTime));
  if (format == "uuid") return whole(std::string(kUuid));
  if (format == "ipv4") return whole(fmt::format("(?:{}\\.){{3}}{}", kByte, kByte));
  return nullptr;
}

}  // namespace nosa::text

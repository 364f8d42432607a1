// The text form of grammars; docs/structured-output.md has its syntax.
#include <algorithm>
#include <map>
#include <string>

#include "text/grammar_compile.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

// Parentheses inside each other; bounds recursion here and in the compiler.
constexpr int kMostNested = 200;
// Of {m,n}; more nodes than one grammar may have.
constexpr int kMostRepeated = kMaxGrammarNodes;

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c) || c == '-'; }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::shared_ptr<const Grammar>> Parse() {
    SkipSpace();
    while (!done()) NOSA_RETURN_IF_ERROR(Rule());
    for (const auto& [name, rule] : ids_) {
      if (rules_.rules[static_cast<size_t>(rule)].body != nullptr) continue;
      at_ = first_use_[name];
      return Error(fmt::format("the rule {} is used, but not defined", name));
    }
    const auto root = ids_.find("root");
    if (root == ids_.end()) return InvalidArgument("there is no rule called root, where texts begin");
    return GrammarCompiler::Compile(rules_, root->second);
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  bool Sees(std::string_view s) const { return text_.substr(std::min(at_, text_.size())).starts_with(s); }
  bool Take(std::string_view s) {
    if (!Sees(s)) return false;
    at_ += s.size();
    return true;
  }
  void SkipSpace() {
    while (!done()) {
      if (text_[at_] == '#') {
        while (!done() && text_[at_] != '\n') ++at_;
      } else if (std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else {
        return;
      }
    }
  }

  Status Error(std::string_view what) const {
    const std::string_view before = text_.substr(0, std::min(at_, text_.size()));
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    return InvalidArgument("line {}, column {}: {}", line, before.size() - start + 1, what);
  }

  std::string Name() {
    const size_t begin = at_;
    while (!done() && IsNamePart(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  int IdOf(const std::string& name, size_t place) {
    const auto [at, added] = ids_.try_emplace(name, -1);
    if (added) {
      at->second = rules_.Add("the rule " + name);
      first_use_[name] = place;
    }
    return at->second;
  }
  // A name and "::=" follow: the next rule begins.
  bool AtRule() {
    const size_t place = at_;
    if (done() || !IsNameStart(text_[at_])) return false;
    Name();
    SkipSpace();
    const bool rule = Sees("::=");
    at_ = place;
    return rule;
  }

  Status Rule() {
    const size_t place = at_;
    if (!AtRule()) return Error("expected a rule: name ::= ...");
    const std::string name = Name();
    SkipSpace();
    Take("::=");
    SkipSpace();
    const size_t id = static_cast<size_t>(IdOf(name, place));
    if (rules_.rules[id].body != nullptr) {
      at_ = place;
      return Error(fmt::format("the rule {} is defined twice", name));
    }
    NOSA_ASSIGN_OR_RETURN(rules_.rules[id].body, Alternatives(0));
    return done() || AtRule() ? Status::Ok() : Error("expected the end of the rule");
  }

  Result<ExprPtr> Alternatives(int nested) {
    if (nested > kMostNested) return Error(fmt::format("more than {} parentheses inside each other", kMostNested));
    std::vector<ExprPtr> alternatives;
    do {
      SkipSpace();
      NOSA_ASSIGN_OR_RETURN(ExprPtr parts, Parts(nested));
      alternatives.push_back(std::move(parts));
    } while (Take("|"));
    return Choice(std::move(alternatives));
  }

  Result<ExprPtr> Parts(int nested) {
    std::vector<ExprPtr> parts;
    while (!done() && text_[at_] != '|' && text_[at_] != ')' && !AtRule()) {
      NOSA_ASSIGN_OR_RETURN(ExprPtr part, Item(nested));
      SkipSpace();
      NOSA_ASSIGN_OR_RETURN(part, Repetition(std::move(part)));
      parts.push_back(std::move(part));
    }
    return parts.empty() ? Literal("") : Sequence(std::move(parts));
  }

  Result<ExprPtr> Item(int nested) {
    const size_t place = at_;
    if (IsNameStart(text_[at_])) {
      const std::string name = Name();
      return RuleRef(IdOf(name, place));
    }
    if (Take("\"")) return Quoted();
    if (Take("[")) return Brackets();
    if (Take(".")) return Class(Complement({}));
    if (!Take("(")) return Error("expected a name, \"text\", [characters], . or (");
    NOSA_ASSIGN_OR_RETURN(ExprPtr inner, Alternatives(nested + 1));
    if (!Take(")")) return Error("expected )");
    return inner;
  }

  // One sign of repetition, or several on top of each other.
  Result<ExprPtr> Repetition(ExprPtr part) {
    for (int signs = 0;; ++signs) {
      if (signs > kMostNested) return Error("too many repetitions of repetitions");
      int min = 0, max = kUnbounded;
      if (Take("?")) {
        max = 1;
      } else if (Take("+")) {
        min = 1;
      } else if (Take("{")) {
        NOSA_RETURN_IF_ERROR(Bounds(&min, &max));
      } else if (!Take("*")) {
        return part;
      }
      part = Repeat(std::move(part), min, max);
      SkipSpace();
    }
  }

  // {m}, {m,}, {,n}, {m,n}; the brace is taken.
  Status Bounds(int* min, int* max) {
    SkipSpace();
    const bool from = !done() && IsDigit(text_[at_]);
    if (from) NOSA_RETURN_IF_ERROR(Number(min));
    SkipSpace();
    *max = *min;
    if (Take(",")) {
      SkipSpace();
      *max = kUnbounded;
      if (!done() && IsDigit(text_[at_])) NOSA_RETURN_IF_ERROR(Number(max));
      SkipSpace();
    } else if (!from) {
      return Error("expected {m}, {m,}, {,n} or {m,n}");
    }
    if (!Take("}")) return Error("expected }");
    if (*max != kUnbounded && *max < *min) return Error(fmt::format("at least {} and at most {}", *min, *max));
    return Status::Ok();
  }
  Status Number(int* out) {
    for (*out = 0; !done() && IsDigit(text_[at_]); ++at_) {
      *out = *out * 10 + (text_[at_] - '0');
      if (*out > kMostRepeated) return Error(fmt::format("more than {} repetitions", kMostRepeated));
    }
    return Status::Ok();
  }

  // A character of a literal or of brackets, escapes included.
  Result<char32_t> Character() {
    if (done()) return Error("the grammar ends inside quotes or brackets");
    if (text_[at_] == '\n') return Error("a line ends inside quotes or brackets; write \\n");
    if (!Take("\\")) {
      const Utf8Step step = DecodeUtf8(text_.substr(at_));
      if (!step.ok) return Error("not UTF-8");
      at_ += step.bytes;
      return step.code_point;
    }
    if (done()) return Error("the grammar ends after a backslash");
    const char c = text_[at_++];
    switch (c) {
      case 'n': return U'\n';
      case 'r': return U'\r';
      case 't': return U'\t';
      case 'x': return Hex(2);
      case 'u': return Hex(4);
      case 'U': return Hex(8);
      default: break;
    }
    if (std::string_view("\\\"[]^-").find(c) != std::string_view::npos) return static_cast<char32_t>(c);
    --at_;
    return Error("expected one of \\n \\r \\t \\\\ \\\" \\[ \\] \\^ \\- \\xHH \\uHHHH \\UHHHHHHHH");
  }
  Result<char32_t> Hex(int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const size_t digit =
          done() ? 16 : std::string_view("0123456789abcdef").find(static_cast<char>(text_[at_] | 0x20));
      if (digit >= 16) return Error(fmt::format("expected {} hexadecimal digits", digits));
      value = value * 16 + digit;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
      return Error(fmt::format("{:#x} is no character", value));
    return static_cast<char32_t>(value);
  }

  Result<ExprPtr> Quoted() {
    std::string bytes;
    while (!Take("\"")) {
      NOSA_ASSIGN_OR_RETURN(const char32_t c, Character());
      AppendUtf8(c, &bytes);
    }
    return Literal(bytes);
  }

  Result<ExprPtr> Brackets() {
    const bool negated = Take("^");
    CodeRanges ranges;
    while (!Take("]")) {
      NOSA_ASSIGN_OR_RETURN(const char32_t first, Character());
      char32_t last = first;
      if (Sees("-") && !Sees("-]")) {
        Take("-");
        NOSA_ASSIGN_OR_RETURN(last, Character());
        if (last < first) return Error("a range of characters runs backwards");
      }
      ranges.emplace_back(first, last);
    }
    ranges = Normalize(std::move(ranges));
    return Class(negated ? Complement(ranges) : Intersect(ranges, Complement({})));
  }

  std::string_view text_;
  size_t at_ = 0;
  RuleSet rules_;
  std::map<std::string, int> ids_;
  std::map<std::string, size_t> first_use_;
};

}  // namespace

Result<std::shared_ptr<const Grammar>> Grammar::FromText(std::string_view text, std::string_view what) {
  auto grammar = Parser(text).Parse();
  return grammar.ok() ? grammar : grammar.status().WithContext(what);
}

}  // namespace nosa::text

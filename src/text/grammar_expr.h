// What a grammar is written in before it is compiled: rules whose bodies are expressions over bytes and code points.
// The front ends (grammar_text.cc, json_schema*.cc) make these, grammar_compile.cc takes them. Private to the text
// room.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nosa::text {

// Inclusive ranges of code points, sorted and apart from each other once Normalize made them so.
using CodeRanges = std::vector<std::pair<char32_t, char32_t>>;
CodeRanges Normalize(CodeRanges ranges);
// All code points that are not in `ranges`; U+D800 to U+DFFF are no characters and in neither.
CodeRanges Complement(const CodeRanges& ranges);
// Those of both.
CodeRanges Intersect(const CodeRanges& a, const CodeRanges& b);

struct Expr;
using ExprPtr = std::shared_ptr<const Expr>;

inline constexpr int kUnbounded = -1;

struct Expr {
  enum class Kind { kLiteral, kClass, kSequence, kChoice, kRepeat, kRule };
  Kind kind = Kind::kLiteral;
  std::string bytes = {};           // kLiteral
  CodeRanges ranges = {};           // kClass, normalized: one character
  std::vector<ExprPtr> parts = {};  // kSequence, kChoice; kRepeat has one
  int min = 0, max = 0;             // kRepeat; max may be kUnbounded
  int rule = -1;                    // kRule: an index of RuleSet
};

ExprPtr Literal(std::string_view bytes);
ExprPtr Class(CodeRanges ranges);
ExprPtr Sequence(std::vector<ExprPtr> parts);
// No parts: nothing matches.
ExprPtr Choice(std::vector<ExprPtr> parts);
ExprPtr Repeat(ExprPtr part, int min, int max);
inline ExprPtr Optional(ExprPtr part) { return Repeat(std::move(part), 0, 1); }
ExprPtr RuleRef(int rule);

struct RuleSet {
  struct Rule {
    std::string name;  // for messages
    ExprPtr body;      // null: not defined yet
  };
  std::vector<Rule> rules;

  int Add(std::string name, ExprPtr body = nullptr) {
    rules.push_back({std::move(name), std::move(body)});
    return static_cast<int>(rules.size()) - 1;
  }
  ExprPtr AddRef(std::string name, ExprPtr body) { return RuleRef(Add(std::move(name), std::move(body))); }
};

}  // namespace nosa::text

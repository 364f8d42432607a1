// JSON as grammar rules: the parts that every schema is built from. Private to the text room.
#pragma once

#include <string>
#include <vector>

#include "io/json.h"
#include "text/grammar_expr.h"

namespace nosa::text {

// Rules are made when they are first asked for; `rules` outlives this.
//
// White space is bounded, so that no text consists of nothing else for long: nothing or one space after a colon;
// nothing, one space, or one line break and at most kMostIndent spaces after a bracket or comma and before a closing
// bracket; nothing elsewhere.
class JsonRules {
 public:
  static constexpr int kMostIndent = 32;
  // Digits of an integer, so that it fits 64 bits; of a fraction; of an exponent.
  static constexpr int kMostDigits = 18, kMostFraction = 17, kMostExponent = 2;

  explicit JsonRules(RuleSet* rules) : rules_(rules) {}

  ExprPtr Space() { return Get(kSpace); }
  ExprPtr Value() { return Get(kValue); }
  ExprPtr Object() { return Get(kObject); }
  ExprPtr Array() { return Get(kArray); }
  ExprPtr String() { return Get(kString); }
  ExprPtr Number() { return Get(kNumber); }
  ExprPtr Integer() { return Get(kInteger); }
  ExprPtr Boolean() { return Get(kBoolean); }
  ExprPtr Null() { return Literal("null"); }
  // One character inside a string, escaped in any way JSON has.
  ExprPtr Character() { return Get(kCharacter); }

  // `part` after a comma, and the space between.
  ExprPtr Next(ExprPtr part) { return Sequence({Literal(","), Space(), std::move(part)}); }
  // A name as JSON, or an expression for one; a colon; the value.
  ExprPtr Pair(ExprPtr name, ExprPtr value);
  // Exactly this value, written as io::DumpJson does, but for white space.
  ExprPtr Exactly(const io::OrderedJson& value);
  // One of `ranges` inside a string, as itself where JSON allows it, else by its shortest escape.
  ExprPtr Plain(const CodeRanges& ranges);
  // A string that is none of `names` and has no escapes.
  ExprPtr NameOtherThan(std::vector<std::string> names);

 private:
  enum Part { kSpace, kValue, kObject, kArray, kString, kNumber, kInteger, kBoolean, kCharacter, kParts };
  ExprPtr Get(Part part);
  ExprPtr Make(Part part);
  // What follows a beginning that the names [begin, end), sorted, share up to byte `depth`.
  ExprPtr OtherRest(const std::vector<std::u32string>& names, size_t begin, size_t end, size_t depth);

  RuleSet* rules_;
  ExprPtr parts_[kParts];
};

}  // namespace nosa::text

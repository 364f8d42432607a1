// From rules to automata. Private to the text room.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "text/grammar.h"
#include "text/grammar_expr.h"
#include "text/utf8_ranges.h"

namespace nosa::text {

// Nodes of one grammar: some 20 bytes each, so that the largest takes about 10 MB.
inline constexpr int kMaxGrammarNodes = 500'000;

// Fails as Grammar::FromText does, without a place. Every rule has a body.
class GrammarCompiler {
 public:
  static Result<std::shared_ptr<const Grammar>> Compile(const RuleSet& rules, int root);

 private:
  using Node = Grammar::Node;

  explicit GrammarCompiler(const RuleSet& rules);
  Status Build(int root);
  // Lower*: a node from which the expression leads to `next`.
  int32_t Lower(const ExprPtr& expr, int32_t next);
  int32_t LowerBytes(std::string_view bytes, int32_t next);
  int32_t LowerClass(const CodeRanges& ranges, int32_t next);
  int32_t LowerRepeat(const Expr& expr, int32_t next);
  int32_t Add(Node node);
  int32_t AddSplit(const std::vector<int32_t>& targets);
  int32_t AddCall(int rule, int32_t next);
  // One rule for an expression that is used several times.
  ExprPtr Shared(const ExprPtr& expr);
  bool full() const { return grammar_->nodes_.size() > static_cast<size_t>(kMaxGrammarNodes); }

  // grammar_check.cc
  Status CheckLeftRecursion() const;
  void FindDepths();
  std::vector<bool> NullableNodes() const;

  RuleSet rules_;
  std::shared_ptr<Grammar> grammar_;
  std::vector<int32_t> entries_;  // where each rule begins: a split of one
  int32_t return_ = 0;
};

}  // namespace nosa::text

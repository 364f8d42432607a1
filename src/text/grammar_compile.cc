#include "text/grammar_compile.h"

#include <utility>

namespace nosa::text {

GrammarCompiler::GrammarCompiler(const RuleSet& rules) : rules_(rules), grammar_(new Grammar()) {}

Result<std::shared_ptr<const Grammar>> GrammarCompiler::Compile(const RuleSet& rules, int root) {
  GrammarCompiler compiler(rules);
  NOSA_RETURN_IF_ERROR(compiler.Build(root));
  return std::shared_ptr<const Grammar>(std::move(compiler.grammar_));
}

Status GrammarCompiler::Build(int root) {
  return_ = Add({});
  // Rules of shared expressions join while bodies are lowered.
  for (size_t r = 0; r < rules_.rules.size() && !full(); ++r) {
    while (entries_.size() < rules_.rules.size()) entries_.push_back(AddSplit({return_}));
    const ExprPtr body = rules_.rules[r].body;
    NOSA_CHECK(body != nullptr, "rule {} has no body", rules_.rules[r].name);
    const int32_t first = Lower(body, return_);
    grammar_->splits_[static_cast<size_t>(grammar_->node(entries_[r]).first)] = first;
  }
  if (full())
    return ResourceExhausted("it needs more than {} automaton nodes: repetitions are too many", kMaxGrammarNodes);
  NOSA_RETURN_IF_ERROR(CheckLeftRecursion());
  FindDepths();
  grammar_->start_ = entries_[static_cast<size_t>(root)];
  if (grammar_->depth(grammar_->start_) > kMaxGrammarDepth)
    return InvalidArgument("no finite text of at most {} nested rules is in the language", kMaxGrammarDepth);
  return Status::Ok();
}

int32_t GrammarCompiler::Add(Node node) {
  grammar_->nodes_.push_back(node);
  return grammar_->nodes() - 1;
}

int32_t GrammarCompiler::AddSplit(const std::vector<int32_t>& targets) {
  auto& splits = grammar_->splits_;
  const int32_t first = static_cast<int32_t>(splits.size());
  splits.insert(splits.end(), targets.begin(), targets.end());
  return Add({Node::Kind::kSplit, first, static_cast<int32_t>(splits.size())});
}

int32_t GrammarCompiler::AddCall(int rule, int32_t next) {
  while (entries_.size() < rules_.rules.size()) entries_.push_back(AddSplit({return_}));
  return Add({Node::Kind::kCall, entries_[static_cast<size_t>(rule)], next});
}

int32_t GrammarCompiler::Lower(const ExprPtr& expr, int32_t next) {
  if (full()) return next;
  switch (expr->kind) {
    case Expr::Kind::kLiteral: return LowerBytes(expr->bytes, next);
    case Expr::Kind::kClass: return LowerClass(expr->ranges, next);
    case Expr::Kind::kSequence:
      for (size_t i = expr->parts.size(); i-- > 0;) next = Lower(expr->parts[i], next);
      return next;
    case Expr::Kind::kChoice: {
      std::vector<int32_t> targets;
      for (const ExprPtr& part : expr->parts) targets.push_back(Lower(part, next));
      return AddSplit(targets);
    }
    case Expr::Kind::kRepeat: return LowerRepeat(*expr, next);
    case Expr::Kind::kRule: return AddCall(expr->rule, next);
  }
  return next;
}

int32_t GrammarCompiler::LowerBytes(std::string_view bytes, int32_t next) {
  auto& edges = grammar_->byte_edges_;
  for (size_t i = bytes.size(); i-- > 0 && !full();) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    edges.push_back({byte, byte, next});
    const int32_t end = static_cast<int32_t>(edges.size());
    next = Add({Node::Kind::kBytes, end - 1, end});
  }
  return next;
}

int32_t GrammarCompiler::LowerClass(const CodeRanges& ranges, int32_t next) {
  // Characters that end alike share the nodes of their ends.
  std::map<ByteRanges, int32_t> ends;
  std::vector<Grammar::ByteEdge> firsts;
  for (ByteRanges bytes : Utf8Ranges(ranges)) {
    const auto [first, last] = bytes.front();
    int32_t at = next;
    for (size_t i = bytes.size(); i-- > 1;) {
      const ByteRanges end(bytes.begin() + static_cast<std::ptrdiff_t>(i), bytes.end());
      const auto known = ends.find(end);
      if (known != ends.end()) {
        at = known->second;
        continue;
      }
      grammar_->byte_edges_.push_back({bytes[i].first, bytes[i].second, at});
      const int32_t edge = static_cast<int32_t>(grammar_->byte_edges_.size());
      at = ends[end] = Add({Node::Kind::kBytes, edge - 1, edge});
    }
    firsts.push_back({first, last, at});
  }
  const int32_t begin = static_cast<int32_t>(grammar_->byte_edges_.size());
  grammar_->byte_edges_.insert(grammar_->byte_edges_.end(), firsts.begin(), firsts.end());
  return Add({Node::Kind::kBytes, begin, static_cast<int32_t>(grammar_->byte_edges_.size())});
}

ExprPtr GrammarCompiler::Shared(const ExprPtr& expr) {
  const bool one_node =
      expr->kind == Expr::Kind::kRule || (expr->kind == Expr::Kind::kLiteral && expr->bytes.size() == 1) ||
      (expr->kind == Expr::Kind::kClass && !expr->ranges.empty() && expr->ranges.back().second < 0x80);
  return one_node ? expr : rules_.AddRef("a repeated part", expr);
}

int32_t GrammarCompiler::LowerRepeat(const Expr& expr, int32_t next) {
  const int copies = expr.max == kUnbounded ? expr.min + 1 : expr.max;
  const ExprPtr part = copies > 1 ? Shared(expr.parts.front()) : expr.parts.front();
  int32_t at = next;
  if (expr.max == kUnbounded) {
    at = AddSplit({next, next});
    const int32_t body = Lower(part, at);
    grammar_->splits_[static_cast<size_t>(grammar_->node(at).first)] = body;
  } else {
    for (int i = expr.min; i < expr.max && !full(); ++i) at = AddSplit({Lower(part, at), next});
  }
  for (int i = 0; i < expr.min && !full(); ++i) at = Lower(part, at);
  return at;
}

}  // namespace nosa::text

#include "text/grammar_expr.h"

#include <algorithm>

namespace nosa::text {
namespace {

ExprPtr Make(Expr expr) { return std::make_shared<const Expr>(std::move(expr)); }

constexpr char32_t kLast = 0x10FFFF, kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

}  // namespace

CodeRanges Normalize(CodeRanges ranges) {
  std::sort(ranges.begin(), ranges.end());
  CodeRanges out;
  for (const auto& [first, last] : ranges) {
    if (!out.empty() && first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, last);
    } else {
      out.emplace_back(first, last);
    }
  }
  return out;
}

CodeRanges Complement(const CodeRanges& ranges) {
  CodeRanges all = ranges;
  all.emplace_back(kFirstSurrogate, kLastSurrogate);
  CodeRanges out;
  char32_t next = 0;
  for (const auto& [first, last] : Normalize(std::move(all))) {
    if (first > next) out.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLast) out.emplace_back(next, kLast);
  return out;
}

CodeRanges Intersect(const CodeRanges& a, const CodeRanges& b) {
  CodeRanges out;
  for (const auto& x : a) {
    for (const auto& y : b) {
      const char32_t first = std::max(x.first, y.first), last = std::min(x.second, y.second);
      if (first <= last) out.emplace_back(first, last);
    }
  }
  return Normalize(std::move(out));
}

ExprPtr Literal(std::string_view bytes) { return Make({.kind = Expr::Kind::kLiteral, .bytes = std::string(bytes)}); }
ExprPtr Class(CodeRanges ranges) { return Make({.kind = Expr::Kind::kClass, .ranges = Normalize(std::move(ranges))}); }
ExprPtr Sequence(std::vector<ExprPtr> parts) {
  return parts.size() == 1 ? parts.front() : Make({.kind = Expr::Kind::kSequence, .parts = std::move(parts)});
}
ExprPtr Choice(std::vector<ExprPtr> parts) {
  return parts.size() == 1 ? parts.front() : Make({.kind = Expr::Kind::kChoice, .parts = std::move(parts)});
}
ExprPtr Repeat(ExprPtr part, int min, int max) {
  return Make({.kind = Expr::Kind::kRepeat, .parts = {std::move(part)}, .min = min, .max = max});
}
ExprPtr RuleRef(int rule) { return Make({.kind = Expr::Kind::kRule, .rule = rule}); }

}  // namespace nosa::text

#include "engine/constraint.h"

#include <algorithm>

#include "base/check.h"

namespace nosa::engine {

void Constraint::Accept(TokenId token) {
  NOSA_CHECK(masks_->Accept(token, &matcher_), "token {} is not in the mask it was drawn from", token);
  mask_ = masks_->Of(matcher_);
}

Result<Constraint> ConstraintCache::Begin(const std::shared_ptr<const text::Grammar>& grammar) {
  if (tokenizer_ == nullptr) return InvalidArgument("a grammar needs a tokenizer, this model directory has none");
  if (trie_ == nullptr) trie_ = text::TokenTrie::Of(*tokenizer_, vocab_);
  const auto at =
      std::find_if(kept_.begin(), kept_.end(), [&](const auto& m) { return m->grammar() == grammar.get(); });
  std::shared_ptr<text::TokenMasks> masks =
      at != kept_.end() ? *at : std::make_shared<text::TokenMasks>(grammar, trie_, ends_);
  if (at != kept_.end()) kept_.erase(at);
  kept_.push_front(masks);
  if (kept_.size() > kMostKept) kept_.pop_back();
  Constraint constraint(std::move(masks));
  if (constraint.stuck()) return InvalidArgument("no token of this model begins a text of the grammar");
  return constraint;
}

}  // namespace nosa::engine

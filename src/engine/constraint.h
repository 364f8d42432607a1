// An answer that is held to a grammar.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/status.h"
#include "text/token_masks.h"
#include "text/tokenizer.h"

namespace nosa::engine {

// Where one answer stands in its grammar's language. Copies go their own ways.
class Constraint {
 public:
  explicit Constraint(std::shared_ptr<text::TokenMasks> masks) : masks_(std::move(masks)), matcher_(masks_->Start()) {
    mask_ = masks_->Of(matcher_);
  }

  // What may come next. When complete(), perhaps nothing.
  const text::TokenMask& mask() const { return *mask_; }
  // After a token that the mask allows and that is no end token.
  void Accept(TokenId token);
  // The text is whole and no token goes on with it.
  bool complete() const { return mask_->tokens == 0 && matcher_.CanEnd(); }
  // The text is not whole and no token goes on with it: the vocabulary lacks bytes.
  bool stuck() const { return mask_->tokens == 0 && !matcher_.CanEnd(); }

 private:
  std::shared_ptr<text::TokenMasks> masks_;
  text::GrammarMatcher matcher_;
  std::shared_ptr<const text::TokenMask> mask_;
};

// Masks of the grammars in use, and of those used last: requests with the same grammar share what it cost to find them.
// One caller thread.
class ConstraintCache {
 public:
  // `tokenizer` may be null: then every grammar is refused. `vocab`: of the model; `ends`: its end tokens.
  ConstraintCache(std::shared_ptr<const text::Tokenizer> tokenizer, int vocab, std::vector<TokenId> ends)
      : tokenizer_(std::move(tokenizer)), vocab_(vocab), ends_(std::move(ends)) {}

  // kInvalidArgument: no tokenizer, or no token of it begins a text of the grammar.
  Result<Constraint> Begin(const std::shared_ptr<const text::Grammar>& grammar);

 private:
  // Grammars whose masks are kept; each may take some 50 MB when it has many states.
  static constexpr size_t kMostKept = 8;

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  int vocab_;
  std::vector<TokenId> ends_;
  std::shared_ptr<const text::TokenTrie> trie_;         // made when first needed
  std::deque<std::shared_ptr<text::TokenMasks>> kept_;  // the one used last is first
};

}  // namespace nosa::engine

#include "text/token_masks.h"

#include <algorithm>

namespace nosa::text {
namespace {

size_t CommonBeginning(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin()).first -
                             a.begin());
}

void Set(TokenId id, std::vector<uint64_t>* bits) {
  (*bits)[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
}

}  // namespace

TokenTrie::TokenTrie(std::vector<std::string> bytes) : bytes_(std::move(bytes)) {
  for (size_t id = 0; id < bytes_.size(); ++id) {
    if (!bytes_[id].empty()) tokens_.push_back(static_cast<TokenId>(id));
  }
  std::stable_sort(tokens_.begin(), tokens_.end(), [&](TokenId a, TokenId b) {
    return bytes_[static_cast<size_t>(a)] < bytes_[static_cast<size_t>(b)];
  });
  std::vector<int32_t> open;  // nodes on the way to the last token
  const auto close = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back())
      nodes_[static_cast<size_t>(open.back())].skip = static_cast<int32_t>(nodes_.size());
  };
  std::string_view last;
  for (size_t t = 0; t < tokens_.size(); ++t) {
    const std::string_view text = bytes_[static_cast<size_t>(tokens_[t])];
    close(CommonBeginning(last, text));
    while (open.size() < text.size()) {
      open.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back(
          {static_cast<uint8_t>(text[open.size() - 1]), static_cast<int32_t>(open.size()), 0, static_cast<int32_t>(t)});
    }
    nodes_.back().tokens_end = static_cast<int32_t>(t) + 1;
    longest_ = std::max(longest_, static_cast<int32_t>(text.size()));
    last = text;
  }
  close(0);
}

std::shared_ptr<const TokenTrie> TokenTrie::Of(const Tokenizer& tokenizer, int32_t vocab) {
  std::vector<std::string> bytes(static_cast<size_t>(std::max(0, std::min(vocab, tokenizer.vocab_size()))));
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!tokenizer.IsSpecial(static_cast<TokenId>(id))) bytes[id] = tokenizer.TokenBytes(static_cast<TokenId>(id));
  }
  return std::make_shared<const TokenTrie>(std::move(bytes));
}

TokenMasks::TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
                       std::vector<TokenId> ends)
    : grammar_(std::move(grammar)),
      trie_(std::move(trie)),
      ends_(std::move(ends)),
      states_(std::make_shared<GrammarStates>(grammar_)) {}

std::shared_ptr<const TokenMask> TokenMasks::Of(const GrammarMatcher& matcher) {
  states_->Trim();
  if (generation_ != states_->generation() || kept_.size() >= kMostKept) kept_.clear();
  generation_ = states_->generation();
  std::shared_ptr<const TokenMask>& mask = kept_[matcher.state()];
  if (mask == nullptr) mask = std::make_shared<const TokenMask>(Compute(matcher.state()));
  return mask;
}

TokenMask TokenMasks::Compute(int32_t state) const {
  TokenMask mask;
  size_t largest = static_cast<size_t>(trie_->vocab());
  for (const TokenId end : ends_) largest = std::max(largest, static_cast<size_t>(end) + 1);
  mask.bits.resize((largest + 63) / 64);
  std::vector<int32_t> at(static_cast<size_t>(trie_->longest()) + 1, GrammarStates::kDead);
  at[0] = state;
  const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const int32_t next = states_->Next(at[static_cast<size_t>(node.depth) - 1], node.byte);
    if (next == GrammarStates::kDead) {
      i = static_cast<size_t>(node.skip);
      continue;
    }
    at[static_cast<size_t>(node.depth)] = next;
    for (int32_t t = i == 0 ? 0 : nodes[i - 1].tokens_end; t < node.tokens_end; ++t, ++mask.tokens)
      Set(trie_->tokens()[static_cast<size_t>(t)], &mask.bits);
    ++i;
  }
  if (states_->CanEnd(state))
    for (const TokenId end : ends_) Set(end, &mask.bits);
  return mask;
}

bool TokenMasks::Accept(TokenId id, GrammarMatcher* matcher) const {
  if (id < 0 || id >= trie_->vocab() || trie_->bytes(id).empty()) return false;
  return matcher->AcceptBytes(trie_->bytes(id));
}

}  // namespace nosa::text

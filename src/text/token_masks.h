// Which tokens of a vocabulary keep a text in a grammar's language.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "text/grammar_matcher.h"
#include "text/tokenizer.h"

namespace nosa::text {

// The bytes of tokens as a tree, so that beginnings which many tokens share are matched once. Immutable, thread-safe.
class TokenTrie {
 public:
  // `bytes[id]`; an empty string is a token that no grammar lets through.
  explicit TokenTrie(std::vector<std::string> bytes);
  // Special tokens, and ids from `vocab` on, are never let through: a text cannot spell them.
  static std::shared_ptr<const TokenTrie> Of(const Tokenizer& tokenizer, int32_t vocab);

  struct Node {
    uint8_t byte = 0;
    int32_t depth = 0;       // of its byte in the token, from 1
    int32_t skip = 0;        // the node after all that begin like this one
    int32_t tokens_end = 0;  // its tokens are those from the previous node's end on
  };
  const std::vector<Node>& nodes() const { return nodes_; }  // each before what it begins
  const std::vector<TokenId>& tokens() const { return tokens_; }
  int32_t vocab() const { return static_cast<int32_t>(bytes_.size()); }
  int32_t longest() const { return longest_; }  // bytes
  std::string_view bytes(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }

 private:
  std::vector<std::string> bytes_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  int32_t longest_ = 0;
};

// One bit a token.
struct TokenMask {
  std::vector<uint64_t> bits;
  int32_t tokens = 0;  // allowed, without end tokens
  bool Allows(TokenId id) const {
    const size_t i = static_cast<size_t>(id);
    return i / 64 < bits.size() && (bits[i / 64] >> (i % 64) & 1) != 0;
  }
};

// Masks of one grammar over one vocabulary, kept for states that come again. One caller thread, as its matchers.
class TokenMasks {
 public:
  // `ends` are allowed exactly where the text may end.
  TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie, std::vector<TokenId> ends);

  GrammarMatcher Start() const { return GrammarMatcher(states_); }
  // Of a matcher that Start made, or a copy. A state met before costs a lookup; otherwise O(nodes of the trie) at most.
  std::shared_ptr<const TokenMask> Of(const GrammarMatcher& matcher);
  // False, and nothing changes, for a token its mask does not allow. End tokens are never accepted: they are no text.
  bool Accept(TokenId id, GrammarMatcher* matcher) const;
  const Grammar* grammar() const { return grammar_.get(); }

  // Kept at most; 9 KB each for a vocabulary of 73k.
  static constexpr size_t kMostKept = 4096;

 private:
  TokenMask Compute(int32_t state) const;

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<TokenId> ends_;
  std::shared_ptr<GrammarStates> states_;
  std::unordered_map<int32_t, std::shared_ptr<const TokenMask>> kept_;  // by state, of generation_
  uint64_t generation_ = 0;
};

}  // namespace nosa::text

// Which beginnings of sequences are cached: a tree of chunks of tokens. Plain bookkeeping; knows no bytes of theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/ids.h"

namespace nosa::kv {

using PrefixId = Id<struct PrefixTag>;  // a cached chunk after certain others

// A chunk's place is the chain of all tokens before it, under a scope: chunks of different scopes never meet. It is
// found by the hash of that chain; what is found has been compared token by token, so that two chains with one hash
// cannot be taken for each other: the later of them is not cached. Not thread-safe.
class PrefixIndex {
 public:
  // Of a chunk's bytes, after the digest of what is before it.
  using Hash = Digest128 (*)(ConstBytes data, const Digest128& before);

  // Every chunk has `chunk_tokens` tokens. `binding`: what the cached bytes belong to, part of every hash.
  PrefixIndex(int chunk_tokens, uint64_t binding, Hash hash = Hash128);

  int chunk_tokens() const { return chunk_tokens_; }
  size_t size() const { return digests_.size(); }

  // The chunk after `before` (invalid: the first of `scope`), or invalid when it is not there. The chunk may be shorter
  // or longer than chunk_tokens: then it is not there.
  PrefixId Find(std::string_view scope, PrefixId before, std::span<const TokenId> chunk) const;
  // Adds a chunk that is not there. Invalid, and nothing added, when another one has its hash.
  PrefixId Insert(std::string_view scope, PrefixId before, std::span<const TokenId> chunk);
  // Memory one more chunk takes here, in bytes: near enough for a budget, never less.
  size_t BytesOf(std::string_view scope) const;

  // It is used now, later than all others.
  void Touch(PrefixId id);
  // The one used longest ago among those that nothing comes after; invalid: there are none.
  PrefixId OldestLeaf() const { return leaves_.empty() ? PrefixId() : leaves_.begin()->second; }
  // Some chunk after `id`, or invalid.
  PrefixId AnyAfter(PrefixId id) const { return At(id).first_child; }
  // Nothing may come after it.
  void Remove(PrefixId leaf);

 private:
  struct Node {
    PrefixId parent;
    PrefixId first_child, next_sibling, previous_sibling;
    std::string scope;  // of a first chunk; the others have their parents'
    std::vector<TokenId> tokens;
    Digest128 digest;
    uint64_t used = 0;
  };
  struct DigestHash {
    size_t operator()(const Digest128& digest) const { return static_cast<size_t>(digest.low); }
  };

  Node& At(PrefixId id) { return nodes_[static_cast<size_t>(id.value)]; }
  const Node& At(PrefixId id) const { return nodes_[static_cast<size_t>(id.value)]; }
  Digest128 DigestOf(std::string_view scope, PrefixId before, std::span<const TokenId> chunk) const;
  std::pair<uint64_t, PrefixId> LeafKey(PrefixId id) const { return {At(id).used, id}; }

  int chunk_tokens_;
  uint64_t binding_;
  Hash hash_;
  std::vector<Node> nodes_;
  std::vector<PrefixId> free_;
  std::unordered_map<Digest128, PrefixId, DigestHash> digests_;
  std::set<std::pair<uint64_t, PrefixId>> leaves_;  // by when they were used
  uint64_t clock_ = 0;
};

}  // namespace nosa::kv

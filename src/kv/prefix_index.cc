#include "kv/prefix_index.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace nosa::kv {

PrefixIndex::PrefixIndex(int chunk_tokens, uint64_t binding, Hash hash)
    : chunk_tokens_(chunk_tokens), binding_(binding), hash_(hash) {
  NOSA_CHECK(chunk_tokens > 0, "chunks of {} tokens", chunk_tokens);
}

Digest128 PrefixIndex::DigestOf(std::string_view scope, PrefixId before, std::span<const TokenId> chunk) const {
  const Digest128 seed =
      before.valid() ? At(before).digest : hash_(std::as_bytes(std::span(scope)), Digest128{binding_, 0});
  return hash_(std::as_bytes(chunk), seed);
}

PrefixId PrefixIndex::Find(std::string_view scope, PrefixId before, std::span<const TokenId> chunk) const {
  if (chunk.size() != static_cast<size_t>(chunk_tokens_)) return PrefixId();
  const auto found = digests_.find(DigestOf(scope, before, chunk));
  if (found == digests_.end()) return PrefixId();
  const Node& node = At(found->second);
  const bool same = node.parent == before && (before.valid() || node.scope == scope) &&
                    std::equal(chunk.begin(), chunk.end(), node.tokens.begin(), node.tokens.end());
  return same ? found->second : PrefixId();
}

PrefixId PrefixIndex::Insert(std::string_view scope, PrefixId before, std::span<const TokenId> chunk) {
  NOSA_CHECK(chunk.size() == static_cast<size_t>(chunk_tokens_), "a chunk of {} tokens, chunks have {}", chunk.size(),
             chunk_tokens_);
  const Digest128 digest = DigestOf(scope, before, chunk);
  if (digests_.contains(digest)) return PrefixId();
  PrefixId id(static_cast<int32_t>(nodes_.size()));
  if (free_.empty()) {
    nodes_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  digests_.emplace(digest, id);
  Node& node = At(id);
  node.parent = before;
  if (!before.valid()) node.scope = scope;
  node.tokens.assign(chunk.begin(), chunk.end());
  node.digest = digest;
  node.used = ++clock_;
  if (before.valid()) {
    Node& parent = At(before);
    if (!parent.first_child.valid()) leaves_.erase(LeafKey(before));
    node.next_sibling = parent.first_child;
    if (node.next_sibling.valid()) At(node.next_sibling).previous_sibling = id;
    parent.first_child = id;
  }
  leaves_.insert(LeafKey(id));
  return id;
}

size_t PrefixIndex::BytesOf(std::string_view scope) const {
  // A map's and a set's entry are a few pointers each beside what they hold.
  constexpr size_t kEntries = 128;
  return sizeof(Node) + static_cast<size_t>(chunk_tokens_) * sizeof(TokenId) + scope.size() + kEntries;
}

void PrefixIndex::Touch(PrefixId id) {
  const bool leaf = !At(id).first_child.valid();
  if (leaf) leaves_.erase(LeafKey(id));
  At(id).used = ++clock_;
  if (leaf) leaves_.insert(LeafKey(id));
}

void PrefixIndex::Remove(PrefixId leaf) {
  Node& node = At(leaf);
  NOSA_CHECK(!node.first_child.valid(), "chunk {} is removed before what comes after it", leaf.value);
  leaves_.erase(LeafKey(leaf));
  digests_.erase(node.digest);
  if (node.next_sibling.valid()) At(node.next_sibling).previous_sibling = node.previous_sibling;
  if (node.previous_sibling.valid()) At(node.previous_sibling).next_sibling = node.next_sibling;
  if (node.parent.valid() && At(node.parent).first_child == leaf) {
    At(node.parent).first_child = node.next_sibling;
    if (!node.next_sibling.valid()) leaves_.insert(LeafKey(node.parent));
  }
  node = Node();
  free_.push_back(leaf);
}

}  // namespace nosa::kv

#include "text/bpe.h"

#include <algorithm>
#include <functional>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

// Up to here a scan of an array beats a queue; almost every word is shorter.
constexpr size_t kShortWord = 48;
// Positions are 32 bits wide; what is longer is cut, which nothing real meets.
constexpr size_t kMaxWordBytes = size_t{1} << 31;
constexpr uint32_t kNone = UINT32_MAX;

}  // namespace

Bpe::Bpe(std::shared_ptr<const Vocabulary> vocabulary, MergeTable merges, const BpeOptions& options)
    : vocabulary_(std::move(vocabulary)), merges_(std::move(merges)), options_(options) {
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_ids_[b] = vocabulary_->ModelIdOf(ToByteLevel({&byte, 1}));
  }
}

void Bpe::Encode(std::string_view word, bool allow_special, Scratch* scratch, std::vector<TokenId>* out) const {
  while (!word.empty()) {
    const std::string_view part = word.substr(0, kMaxWordBytes);
    word.remove_prefix(part.size());
    if (options_.ignore_merges) {
      if (const TokenId id = WholeWord(part, allow_special); id >= 0) {
        out->push_back(id);
        continue;
      }
    }
    scratch->symbols.clear();
    Start(part, &scratch->symbols);
    if (scratch->symbols.size() <= kShortWord) {
      MergeShort(scratch, out);
    } else {
      MergeLong(scratch, out);
    }
  }
}

TokenId Bpe::WholeWord(std::string_view word, bool allow_special) const {
  const TokenId id = options_.byte_level ? vocabulary_->ModelIdOf(ToByteLevel(word)) : vocabulary_->ModelIdOf(word);
  return id >= 0 && (allow_special || !vocabulary_->Find(id)->special) ? id : -1;
}

void Bpe::Start(std::string_view word, std::vector<TokenId>* symbols) const {
  bool after_unknown = false;
  while (!word.empty()) {
    const size_t length = options_.byte_level ? 1 : DecodeUtf8(word).bytes;
    const TokenId id =
        options_.byte_level ? byte_ids_[static_cast<uint8_t>(word[0])] : vocabulary_->ModelIdOf(word.substr(0, length));
    word.remove_prefix(length);
    if (id >= 0) {
      symbols->push_back(id);
    } else if (options_.unknown >= 0 && !(after_unknown && options_.fuse_unknown)) {
      symbols->push_back(options_.unknown);
    }
    after_unknown = id < 0;
  }
}

void Bpe::MergeShort(Scratch* scratch, std::vector<TokenId>* out) const {
  std::vector<TokenId>& ids = scratch->symbols;
  std::vector<uint32_t>& ranks = scratch->ranks;  // ranks[i]: of the pair (i, i + 1)
  ranks.clear();
  for (size_t i = 0; i + 1 < ids.size(); ++i) ranks.push_back(merges_.RankOf(ids[i], ids[i + 1]));
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == MergeTable::kNoRank) break;
    const size_t i = static_cast<size_t>(best - ranks.begin());
    ids[i] = merges_.MergedAt(*best);
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(best);
    if (i > 0) ranks[i - 1] = merges_.RankOf(ids[i - 1], ids[i]);
    if (i < ranks.size()) ranks[i] = merges_.RankOf(ids[i], ids[i + 1]);
  }
  out->insert(out->end(), ids.begin(), ids.end());
}

// A linked list of symbols and a queue of (rank, position). Entries are not removed when their pair goes;
// they no longer match the list then and are skipped.
void Bpe::MergeLong(Scratch* scratch, std::vector<TokenId>* out) const {
  std::vector<Scratch::Node>& nodes = scratch->nodes;
  std::vector<uint64_t>& heap = scratch->heap;
  const auto count = static_cast<uint32_t>(scratch->symbols.size());
  nodes.clear();
  heap.clear();
  for (uint32_t i = 0; i < count; ++i)
    nodes.push_back({scratch->symbols[i], i == 0 ? kNone : i - 1, i + 1 == count ? kNone : i + 1});
  // The rank of the pair that starts at a symbol; a merged-away symbol has id -1 and pairs with nothing.
  const auto rank_at = [&](uint32_t i) {
    if (nodes[i].id < 0 || nodes[i].next == kNone) return MergeTable::kNoRank;
    return merges_.RankOf(nodes[i].id, nodes[nodes[i].next].id);
  };
  const auto entry_at = [&](uint32_t i) { return static_cast<uint64_t>(rank_at(i)) << 32 | i; };
  const auto push = [&](uint32_t i) {
    const uint64_t entry = entry_at(i);
    if (entry >> 32 == MergeTable::kNoRank) return;
    heap.push_back(entry);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < count; ++i)
    if (const uint64_t entry = entry_at(i); entry >> 32 != MergeTable::kNoRank) heap.push_back(entry);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t entry = heap.back();
    heap.pop_back();
    const auto i = static_cast<uint32_t>(entry);
    if (entry_at(i) != entry) continue;
    Scratch::Node& left = nodes[i];
    Scratch::Node& right = nodes[left.next];
    left.id = merges_.MergedAt(static_cast<uint32_t>(entry >> 32));
    right.id = -1;
    left.next = right.next;
    if (left.next != kNone) nodes[left.next].previous = i;
    if (left.previous != kNone) push(left.previous);
    push(i);
  }
  for (uint32_t i = 0; i != kNone; i = nodes[i].next) out->push_back(nodes[i].id);
}

}  // namespace nosa::text

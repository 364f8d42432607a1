#include "text/word_cache.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace nosa::text {
namespace {

constexpr size_t kMinTextBytes = 256;
constexpr size_t kMaxSlots = size_t{1} << 14;
// Longer words hardly ever come twice.
constexpr size_t kMaxWordBytes = 64;

}  // namespace

WordCache::WordCache(size_t text_bytes) {
  if (text_bytes >= kMinTextBytes) slots_.resize(std::min(kMaxSlots, std::bit_ceil(text_bytes / 16)));
}

WordCache::Slot* WordCache::SlotOf(std::string_view word) {
  if (slots_.empty() || word.size() > kMaxWordBytes) return nullptr;
  return &slots_[std::hash<std::string_view>()(word) & (slots_.size() - 1)];
}

bool WordCache::Append(std::string_view word, std::vector<TokenId>* out) {
  const Slot* slot = SlotOf(word);
  if (slot == nullptr || slot->bytes == 0 || std::string_view(slot->data, slot->bytes) != word) return false;
  for (size_t i = 0; i < slot->count; ++i) out->push_back(TokenId{(*out)[slot->begin + i]});
  return true;
}

void WordCache::Note(std::string_view word, size_t begin, const std::vector<TokenId>& out) {
  if (Slot* slot = SlotOf(word))
    *slot = {word.data(), static_cast<uint32_t>(word.size()), static_cast<uint32_t>(out.size() - begin), begin};
}

}  // namespace nosa::text

#include "text/word_table.h"

#include <limits>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace nosa::text {
namespace {

constexpr size_t kFirstSlots = 1024;

uint32_t HashOf(std::string_view word, uint64_t seed = 0) {
  return static_cast<uint32_t>(Hash64(AsBytes(std::span<const char>(word.data(), word.size())), seed));
}

}  // namespace

uint32_t& WordTable::SlotOf(std::string_view word, uint32_t hash) {
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    if (slots_[i] == 0) return slots_[i];
    const Entry& entry = entries_[slots_[i] - 1];
    if (entry.hash == hash && TextOf(entry) == word) return slots_[i];
  }
}

void WordTable::Rehash(size_t slots) {
  slots_.assign(slots, 0);
  const size_t mask = slots - 1;
  for (size_t e = 0; e < entries_.size(); ++e) {
    size_t i = entries_[e].hash & mask;
    while (slots_[i] != 0) i = (i + 1) & mask;
    slots_[i] = static_cast<uint32_t>(e + 1);
  }
}

void WordTable::Add(std::string_view word, int64_t count) {
  if (2 * (entries_.size() + 1) > slots_.size()) Rehash(slots_.empty() ? kFirstSlots : 2 * slots_.size());
  const uint32_t hash = HashOf(word);
  uint32_t& slot = SlotOf(word, hash);
  if (slot != 0) {
    entries_[slot - 1].count += count;
    return;
  }
  NOSA_CHECK(entries_.size() < std::numeric_limits<uint32_t>::max() - 1, "{} distinct words", entries_.size());
  entries_.push_back({text_.size(), count, static_cast<uint32_t>(word.size()), hash});
  text_.append(word);
  slot = static_cast<uint32_t>(entries_.size());
}

void WordTable::Add(const WordTable& other) {
  other.ForEach([this](std::string_view word, int64_t count) { Add(word, count); });
}

void WordTable::ForEach(FunctionRef<void(std::string_view word, int64_t count)> visit) const {
  for (const Entry& entry : entries_) visit(TextOf(entry), entry.count);
}

void WordTable::ThinOut(int64_t count, uint64_t seed) {
  WordTable kept;
  ForEach([&](std::string_view word, int64_t seen) {
    if (seen > count) {
      kept.Add(word, seen);
    } else if (HashOf(word, seed) % 2 == 0) {
      kept.Add(word, 2 * seen);
    }
  });
  *this = std::move(kept);
}

void WordTable::Clear() {
  text_.clear();
  entries_.clear();
  slots_.assign(slots_.size(), 0);
}

}  // namespace nosa::text

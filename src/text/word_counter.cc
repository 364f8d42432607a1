#include "text/word_counter.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

// Enough parts in a round for many threads, and each large enough that its overhead does not count.
constexpr size_t kPartBytes = 256 << 10;

// Whether the byte at `place`, white space, stands between two characters that are none.
bool StandsAlone(std::string_view text, size_t place) {
  if (place == 0 || place + 1 >= text.size()) return false;
  const std::string_view before = text.substr(0, place);
  return !IsWhitespace(DecodeUtf8(before.substr(LastCharacterStart(before))).code_point) &&
         !IsWhitespace(DecodeUtf8(text.substr(place + 1)).code_point);
}

// The last such byte that is `space` and below `end`; npos when there is none.
size_t LastAlone(std::string_view text, char space, size_t end) {
  size_t i = text.rfind(space, end - 1);
  while (i != text.npos && i > 0 && !StandsAlone(text, i)) i = text.rfind(space, i - 1);
  return i == 0 ? text.npos : i;
}

// The largest character boundary that is at most `end`.
size_t CharacterEnd(std::string_view text, size_t end) {
  while (end > 0 && end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

}  // namespace

size_t PartBytes(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text.size();
  if (const size_t newline = LastAlone(text, '\n', max_bytes); newline != text.npos) return newline + 1;
  if (const size_t blank = LastAlone(text, ' ', max_bytes); blank != text.npos) return blank;
  return CharacterEnd(text, max_bytes);
}

WordCounter::WordCounter(PreTokenizer pre_tokenizer, uint64_t max_table_bytes, int threads, size_t round_bytes)
    : pre_tokenizer_(std::move(pre_tokenizer)),
      max_table_bytes_(max_table_bytes),
      round_bytes_(round_bytes),
      pool_(threads),
      workers_(static_cast<size_t>(threads)) {}

void WordCounter::Add(std::string_view text) {
  ++stats_.texts;
  stats_.bytes += static_cast<int64_t>(text.size());
  while (!text.empty()) {
    const size_t bytes = PartBytes(text, kPartBytes);
    round_.append(text.substr(0, bytes));
    part_ends_.push_back(round_.size());
    text.remove_prefix(bytes);
    if (round_.size() >= round_bytes_) CountPending();
  }
}

void WordCounter::CountPart(std::string_view part, Worker* worker) const {
  worker->words.clear();
  pre_tokenizer_.Split(part, &worker->arena, &worker->words);
  worker->count += static_cast<int64_t>(worker->words.size());
  for (std::string_view word : worker->words) {
    while (!word.empty()) {
      const size_t bytes = word.size() <= kMaxWordBytes ? word.size() : CharacterEnd(word, kMaxWordBytes);
      worker->table.Add(word.substr(0, bytes), 1);
      word.remove_prefix(bytes);
    }
  }
  worker->arena.clear();
}

void WordCounter::CountPending() {
  const std::string_view round = round_;
  pool_.ParallelFor(static_cast<int64_t>(part_ends_.size()), 1, [&](int64_t begin, int64_t end, int thread) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const size_t from = i == 0 ? 0 : part_ends_[i - 1];
      CountPart(round.substr(from, part_ends_[i] - from), &workers_[static_cast<size_t>(thread)]);
    }
  });
  for (Worker& worker : workers_) {
    table_.Add(worker.table);
    worker.table.Clear();
    stats_.words += std::exchange(worker.count, 0);
  }
  round_.clear();
  part_ends_.clear();
  HoldBound();
}

// The smallest power of two k such that the table fits in `bytes` without half of the words seen up to k times; all
// words count among these when that is not enough.
int64_t WordCounter::RareUpTo(uint64_t bytes) const {
  for (int64_t k = 1;; k *= 2) {
    uint64_t rare = 0;
    bool all = true;
    table_.ForEach([&](std::string_view word, int64_t count) {
      rare += count > k ? 0 : WordTable::BytesOf(1, word.size());
      all = all && count <= k;
    });
    if (all || table_.bytes() - rare / 2 <= bytes) return k;
  }
}

void WordCounter::HoldBound() {
  // Each time other halves go, else the same words would double again and again.
  while (table_.bytes() > max_table_bytes_)
    table_.ThinOut(RareUpTo(max_table_bytes_ / 4 * 3), static_cast<uint64_t>(++stats_.thinned_out));
}

WordTable WordCounter::Finish() {
  CountPending();
  workers_.clear();
  workers_.resize(static_cast<size_t>(pool_.size()));
  round_ = {};
  return std::exchange(table_, {});
}

}  // namespace nosa::text

// Recognises the texts of a grammar byte by byte. All ways to read a text are followed at once, as a set of stacks that
// share their lower parts; sets that were met get a number and remember where each byte led from them, so that what
// repeats costs a table lookup.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "text/grammar.h"

namespace nosa::text {

// Ways to read one text at the same time; a byte that would need more is refused. Grammars of formats need a few.
inline constexpr size_t kMaxGrammarWays = 8192;

// The sets of stacks that texts of one grammar have led to. One caller thread.
class GrammarStates {
 public:
  static constexpr int32_t kDead = -1;

  explicit GrammarStates(std::shared_ptr<const Grammar> grammar);

  int32_t start() const { return start_; }
  // kDead when no text goes on with `byte`. O(1) where it was asked before.
  int32_t Next(int32_t state, uint8_t byte) {
    State& from = states_[static_cast<size_t>(state)];
    if (from.next != nullptr && (*from.next)[byte] != kUnknown) return (*from.next)[byte];
    return Find(state, byte);
  }
  // The text so far is in the language.
  bool CanEnd(int32_t state) const { return states_[static_cast<size_t>(state)].can_end; }
  // Some text goes on. (Whatever goes on can be brought to an end.)
  bool CanGoOn(int32_t state) const {
    const State& s = states_[static_cast<size_t>(state)];
    return s.ways.size() > (s.can_end ? 1u : 0u);
  }

  // Numbers that are held stay what they are; others may be given to other sets by Trim.
  void Hold(int32_t state) { ++states_[static_cast<size_t>(state)].holders; }
  void Drop(int32_t state) { --states_[static_cast<size_t>(state)].holders; }
  // Forgets all that nobody holds when there are more than kMostKept, some 2 KB each. Changes generation() if it did.
  void Trim();
  uint64_t generation() const { return generation_; }
  size_t size() const { return states_.size() - free_.size(); }

  static constexpr size_t kMostKept = 1 << 14;

 private:
  static constexpr int32_t kUnknown = -2;

  // Where one way to read the text stands: the node, and where its callers go on.
  struct Way {
    int32_t node = 0, frame = 0;
    friend auto operator<=>(const Way&, const Way&) = default;
  };
  struct Frame {
    int32_t node = 0, parent = 0, depth = 0;
  };
  struct State {
    std::vector<Way> ways;  // at kBytes nodes, and the end of the text; sorted
    bool can_end = false;
    int32_t holders = 0;
    std::unique_ptr<std::array<int32_t, 256>> next;
  };

  int32_t Find(int32_t state, uint8_t byte);
  // Follows what needs no byte from the ways in work_. kDead when nothing is left, or too much.
  int32_t Close();
  void Visit(Way way);
  void Follow(const Way& way);
  int32_t Push(int32_t node, int32_t parent);
  static uint64_t HashOf(const std::vector<Way>& ways);
  int32_t Intern(std::vector<Way> ways);
  void KeepFrames();

  std::shared_ptr<const Grammar> grammar_;
  std::vector<Frame> frames_;  // 0: the bottom
  std::unordered_map<uint64_t, int32_t> frame_ids_;
  std::vector<State> states_;
  std::vector<int32_t> free_;
  std::unordered_multimap<uint64_t, int32_t> ids_;  // by hash of the ways
  int32_t start_ = 0;
  uint64_t generation_ = 0;
  // scratch
  std::vector<Way> work_, found_;
  std::unordered_set<uint64_t> seen_;
};

// A text as it grows. Copies are cheap (one number) and go their own ways: a copy is also the way back.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<GrammarStates> states);
  GrammarMatcher(const GrammarMatcher& other) : GrammarMatcher(other.states_, other.state_) {}
  GrammarMatcher& operator=(const GrammarMatcher& other);
  ~GrammarMatcher() { states_->Drop(state_); }

  // False, and nothing changes, when no text of the language begins so.
  bool AcceptByte(uint8_t byte);
  bool AcceptBytes(std::string_view bytes);
  bool CanEnd() const { return states_->CanEnd(state_); }
  bool CanGoOn() const { return states_->CanGoOn(state_); }
  int32_t state() const { return state_; }

 private:
  GrammarMatcher(std::shared_ptr<GrammarStates> states, int32_t state);
  void MoveTo(int32_t state);

  std::shared_ptr<GrammarStates> states_;
  int32_t state_;
};

}  // namespace nosa::text

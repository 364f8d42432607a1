#include "text/grammar_matcher.h"

#include <algorithm>

#include "base/check.h"

namespace nosa::text {
namespace {

uint64_t Pair(int32_t a, int32_t b) {
  return static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b);
}

}  // namespace

GrammarStates::GrammarStates(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  frames_.push_back({});
  Visit({grammar_->start(), 0});
  start_ = Close();
  NOSA_CHECK(start_ != kDead, "a grammar without a beginning was compiled");
  Hold(start_);
}

int32_t GrammarStates::Find(int32_t state, uint8_t byte) {
  for (const Way& way : states_[static_cast<size_t>(state)].ways) {
    const Grammar::Node& node = grammar_->node(way.node);
    if (node.kind != Grammar::Node::Kind::kBytes) continue;
    for (int32_t e = node.first; e < node.last; ++e) {
      const Grammar::ByteEdge& edge = grammar_->byte_edges()[e];
      if (edge.first <= byte && byte <= edge.last) Visit({edge.next, way.frame});
    }
  }
  const int32_t next = work_.empty() ? kDead : Close();
  auto& table = states_[static_cast<size_t>(state)].next;
  if (table == nullptr) {
    table = std::make_unique<std::array<int32_t, 256>>();
    table->fill(kUnknown);
  }
  return (*table)[byte] = next;
}

// A way is only taken when the levels it needs to its end are there: what is in a set can always be finished.
void GrammarStates::Visit(Way way) {
  if (frames_[static_cast<size_t>(way.frame)].depth + grammar_->depth(way.node) > kMaxGrammarDepth) return;
  if (seen_.insert(Pair(way.node, way.frame)).second) work_.push_back(way);
}

int32_t GrammarStates::Close() {
  while (!work_.empty() && seen_.size() <= 4 * kMaxGrammarWays) {
    const Way way = work_.back();
    work_.pop_back();
    Follow(way);
  }
  const bool too_many = !work_.empty() || found_.size() > kMaxGrammarWays;
  work_.clear();
  seen_.clear();
  std::vector<Way> ways = std::move(found_);
  found_.clear();
  if (ways.empty() || too_many) return kDead;
  std::sort(ways.begin(), ways.end());
  return Intern(std::move(ways));
}

void GrammarStates::Follow(const Way& way) {
  const Grammar::Node& node = grammar_->node(way.node);
  switch (node.kind) {
    case Grammar::Node::Kind::kBytes: found_.push_back(way); break;
    case Grammar::Node::Kind::kSplit:
      for (int32_t e = node.first; e < node.last; ++e) Visit({grammar_->splits()[e], way.frame});
      break;
    case Grammar::Node::Kind::kCall:
      if (grammar_->tail(node)) {
        Visit({node.first, way.frame});
      } else {
        Visit({node.first, Push(node.last, way.frame)});
      }
      break;
    case Grammar::Node::Kind::kReturn: {
      const Frame& frame = frames_[static_cast<size_t>(way.frame)];
      if (way.frame == 0) {
        found_.push_back(way);
      } else {
        Visit({frame.node, frame.parent});
      }
    }
  }
}

int32_t GrammarStates::Push(int32_t node, int32_t parent) {
  const auto [at, added] = frame_ids_.try_emplace(Pair(node, parent), static_cast<int32_t>(frames_.size()));
  if (added) frames_.push_back({node, parent, frames_[static_cast<size_t>(parent)].depth + 1});
  return at->second;
}

uint64_t GrammarStates::HashOf(const std::vector<Way>& ways) {
  uint64_t hash = 0;
  for (const Way& way : ways) hash = (hash ^ Pair(way.node, way.frame)) * 0x9E3779B97F4A7C15u + (hash >> 29);
  return hash;
}

int32_t GrammarStates::Intern(std::vector<Way> ways) {
  const uint64_t hash = HashOf(ways);
  const auto [begin, end] = ids_.equal_range(hash);
  for (auto i = begin; i != end; ++i) {
    if (states_[static_cast<size_t>(i->second)].ways == ways) return i->second;
  }
  int32_t id = static_cast<int32_t>(states_.size());
  if (free_.empty()) {
    states_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  State& state = states_[static_cast<size_t>(id)];
  state.can_end = std::any_of(ways.begin(), ways.end(), [&](const Way& way) {
    return grammar_->node(way.node).kind == Grammar::Node::Kind::kReturn;
  });
  state.ways = std::move(ways);
  ids_.emplace(hash, id);
  return id;
}

void GrammarStates::Trim() {
  if (size() <= kMostKept) return;
  ++generation_;
  KeepFrames();
  ids_.clear();
  std::vector<int32_t> kept;
  free_.clear();
  for (size_t i = 0; i < states_.size(); ++i) {
    State& state = states_[i];
    state.next.reset();
    if (state.holders > 0) {
      kept.push_back(static_cast<int32_t>(i));
    } else {
      state.ways = {};
      free_.push_back(static_cast<int32_t>(i));
    }
  }
  for (const int32_t id : kept) {
    ids_.emplace(HashOf(states_[static_cast<size_t>(id)].ways), id);
  }
}

// Frames of the states that are held, under new numbers. A parent is older than its children.
void GrammarStates::KeepFrames() {
  std::vector<int32_t> renamed(frames_.size(), -1);
  renamed[0] = 0;
  for (const State& state : states_) {
    if (state.holders == 0) continue;
    for (const Way& way : state.ways) {
      for (int32_t f = way.frame; renamed[static_cast<size_t>(f)] < 0; f = frames_[static_cast<size_t>(f)].parent)
        renamed[static_cast<size_t>(f)] = 0;
    }
  }
  std::vector<Frame> old = std::move(frames_);
  frames_ = {old.front()};
  frame_ids_.clear();
  for (size_t f = 1; f < old.size(); ++f) {
    if (renamed[f] == 0) renamed[f] = Push(old[f].node, renamed[static_cast<size_t>(old[f].parent)]);
  }
  for (State& state : states_) {
    if (state.holders == 0) continue;
    for (Way& way : state.ways) way.frame = renamed[static_cast<size_t>(way.frame)];
    std::sort(state.ways.begin(), state.ways.end());
  }
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<GrammarStates> states) : states_(std::move(states)) {
  state_ = states_->start();
  states_->Hold(state_);
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<GrammarStates> states, int32_t state)
    : states_(std::move(states)), state_(state) {
  states_->Hold(state_);
}

GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
  other.states_->Hold(other.state_);
  states_->Drop(state_);
  states_ = other.states_;
  state_ = other.state_;
  return *this;
}

void GrammarMatcher::MoveTo(int32_t state) {
  states_->Hold(state);
  states_->Drop(state_);
  state_ = state;
  states_->Trim();
}

bool GrammarMatcher::AcceptByte(uint8_t byte) {
  const int32_t next = states_->Next(state_, byte);
  if (next == GrammarStates::kDead) return false;
  MoveTo(next);
  return true;
}

bool GrammarMatcher::AcceptBytes(std::string_view bytes) {
  const GrammarMatcher before = *this;
  for (const char byte : bytes) {
    if (AcceptByte(static_cast<uint8_t>(byte))) continue;
    *this = before;
    return false;
  }
  return true;
}

}  // namespace nosa::text

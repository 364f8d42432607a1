// What a grammar must hold before it may be matched: no rule waits for itself, and every way that is taken can be
// brought to an end.
#include <algorithm>
#include <functional>
#include <queue>

#include "text/grammar_compile.h"

namespace nosa::text {
namespace {

using Kind = Grammar::Node::Kind;

// For each node, the nodes that look at it.
std::vector<std::vector<int32_t>> Users(const Grammar& grammar) {
  std::vector<std::vector<int32_t>> users(static_cast<size_t>(grammar.nodes()));
  const auto use = [&](int32_t target, int32_t by) { users[static_cast<size_t>(target)].push_back(by); };
  for (int32_t i = 0; i < grammar.nodes(); ++i) {
    const Grammar::Node& node = grammar.node(i);
    if (node.kind == Kind::kBytes)
      for (int32_t e = node.first; e < node.last; ++e) use(grammar.byte_edges()[e].next, i);
    if (node.kind == Kind::kSplit)
      for (int32_t e = node.first; e < node.last; ++e) use(grammar.splits()[e], i);
    if (node.kind == Kind::kCall) {
      use(node.first, i);
      use(node.last, i);
    }
  }
  return users;
}

}  // namespace

// From where the end of the rule can be got to without a byte.
std::vector<bool> GrammarCompiler::NullableNodes() const {
  const auto users = Users(*grammar_);
  std::vector<bool> nullable(users.size(), false);
  std::vector<int32_t> work = {return_};
  nullable[static_cast<size_t>(return_)] = true;
  while (!work.empty()) {
    const int32_t done = work.back();
    work.pop_back();
    for (const int32_t user : users[static_cast<size_t>(done)]) {
      const Node& node = grammar_->node(user);
      const bool now =
          node.kind == Kind::kSplit || (node.kind == Kind::kCall && nullable[static_cast<size_t>(node.first)] &&
                                        nullable[static_cast<size_t>(node.last)]);
      if (!now || nullable[static_cast<size_t>(user)]) continue;
      nullable[static_cast<size_t>(user)] = true;
      work.push_back(user);
    }
  }
  return nullable;
}

// A depth-first search over "is at, before any byte was read": steps along splits, past calls that may read nothing,
// and into calls. A loop is fine, unless it enters a call.
Status GrammarCompiler::CheckLeftRecursion() const {
  const std::vector<bool> nullable = NullableNodes();
  // Which rule each rule may enter first.
  std::vector<std::vector<int>> enters(entries_.size());
  std::vector<int> rule_of(static_cast<size_t>(grammar_->nodes()), -1);
  for (size_t r = 0; r < entries_.size(); ++r) rule_of[static_cast<size_t>(entries_[r])] = static_cast<int>(r);
  std::vector<int> seen_by(static_cast<size_t>(grammar_->nodes()), -1);
  for (size_t r = 0; r < entries_.size(); ++r) {
    std::vector<int32_t> work = {entries_[r]};
    const auto visit = [&](int32_t node) {
      if (std::exchange(seen_by[static_cast<size_t>(node)], static_cast<int>(r)) != static_cast<int>(r))
        work.push_back(node);
    };
    while (!work.empty()) {
      const Node& node = grammar_->node(work.back());
      work.pop_back();
      if (node.kind == Kind::kSplit)
        for (int32_t e = node.first; e < node.last; ++e) visit(grammar_->splits()[e]);
      if (node.kind != Kind::kCall) continue;
      enters[r].push_back(rule_of[static_cast<size_t>(node.first)]);
      if (nullable[static_cast<size_t>(node.first)]) visit(node.last);
    }
  }
  // Rules without a loop are taken away from the leaves on; what is left over is in a loop or leads into one.
  std::vector<int> open(entries_.size(), 0);
  std::vector<std::vector<int>> entered_by(entries_.size());
  std::vector<int> leaves;
  for (size_t r = 0; r < entries_.size(); ++r) {
    open[r] = static_cast<int>(enters[r].size());
    for (const int q : enters[r]) entered_by[static_cast<size_t>(q)].push_back(static_cast<int>(r));
    if (open[r] == 0) leaves.push_back(static_cast<int>(r));
  }
  while (!leaves.empty()) {
    const int leaf = leaves.back();
    leaves.pop_back();
    for (const int r : entered_by[static_cast<size_t>(leaf)])
      if (--open[static_cast<size_t>(r)] == 0) leaves.push_back(r);
  }
  size_t at = 0;
  while (at < open.size() && open[at] == 0) ++at;
  if (at == open.size()) return Status::Ok();
  // Onwards among what is left over, as often as there are rules, ends inside a loop.
  for (size_t i = 0; i < open.size(); ++i) {
    at = static_cast<size_t>(
        *std::find_if(enters[at].begin(), enters[at].end(), [&](int q) { return open[static_cast<size_t>(q)] > 0; }));
  }
  return InvalidArgument("{} comes to itself before any text (left recursion)", rules_.rules[at].name);
}

// Knuth's generalisation of Dijkstra's algorithm (1977): the smallest depth first, each node once.
void GrammarCompiler::FindDepths() {
  constexpr int kNever = kMaxGrammarDepth + 1;
  const auto users = Users(*grammar_);
  auto& depths = grammar_->depths_;
  depths.assign(users.size(), static_cast<int16_t>(kNever));
  using Entry = std::pair<int, int32_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  queue.push({0, return_});
  while (!queue.empty()) {
    const auto [depth, at] = queue.top();
    queue.pop();
    if (depth >= depths[static_cast<size_t>(at)]) continue;
    depths[static_cast<size_t>(at)] = static_cast<int16_t>(depth);
    for (const int32_t user : users[static_cast<size_t>(at)]) {
      const Node& node = grammar_->node(user);
      int through = depth;
      if (node.kind == Kind::kCall) {
        const int inner = depths[static_cast<size_t>(node.first)] + (grammar_->tail(node) ? 0 : 1);
        through = std::max<int>(inner, depths[static_cast<size_t>(node.last)]);
      }
      if (through < depths[static_cast<size_t>(user)]) queue.push({through, user});
    }
  }
}

}  // namespace nosa::text

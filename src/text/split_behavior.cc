#include "text/split_behavior.h"

#include <array>

namespace nosa::text {
namespace {

struct Name {
  std::string_view name;
  SplitBehavior behavior;
};

constexpr std::array<Name, 5> kNames = {{{"Isolated", SplitBehavior::kIsolated},
                                         {"Removed", SplitBehavior::kRemoved},
                                         {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
                                         {"MergedWithNext", SplitBehavior::kMergedWithNext},
                                         {"Contiguous", SplitBehavior::kContiguous}}};

// Whether `next` belongs to the piece that `previous` ends.
bool Joined(const Stretch& previous, const Stretch& next, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious: return next.match && !previous.match;
    case SplitBehavior::kMergedWithNext: return previous.match && !next.match;
    case SplitBehavior::kContiguous: return previous.match == next.match;
    default: return false;
  }
}

}  // namespace

Result<SplitBehavior> ParseSplitBehavior(std::string_view name) {
  for (const Name& n : kNames)
    if (n.name == name) return n.behavior;
  return InvalidArgument(
      "behavior is \"{}\", expected Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous", name);
}

void AppendPieces(std::string_view text, std::span<const Stretch> stretches, SplitBehavior behavior,
                  std::vector<std::string_view>* out) {
  for (size_t i = 0; i < stretches.size();) {
    const size_t begin = stretches[i].begin;
    const bool drop = behavior == SplitBehavior::kRemoved && stretches[i].match;
    size_t end = stretches[i].end;
    for (++i; i < stretches.size() && Joined(stretches[i - 1], stretches[i], behavior); ++i) end = stretches[i].end;
    if (!drop && begin < end) out->push_back(text.substr(begin, end - begin));
  }
}

}  // namespace nosa::text

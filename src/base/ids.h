// Integers that must not be mixed up. Each counts from 0; -1, the default, is "no such thing".
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace nosa {

template <typename Tag>
struct Id {
  int32_t value = -1;

  constexpr Id() = default;
  constexpr explicit Id(int32_t v) : value(v) {}
  constexpr bool valid() const { return value >= 0; }
  friend constexpr auto operator<=>(Id, Id) = default;
};

using LayerIdx = Id<struct LayerTag>;    // transformer layer
using KvHeadIdx = Id<struct KvHeadTag>;  // KV head within a layer
using BlockId = Id<struct BlockTag>;     // block of `block_size` tokens within one sequence
using PageId = Id<struct PageTag>;       // storage of one block for all layers and heads, store-wide
using SlotId = Id<struct SlotTag>;       // place for one block of one layer and head in the fastest tier
using SeqId = Id<struct SeqTag>;         // open sequence of a store

// Position of a token in its sequence, in tokens.
using TokenPos = int32_t;
using TokenId = int32_t;

}  // namespace nosa

template <typename Tag>
struct std::hash<nosa::Id<Tag>> {
  size_t operator()(nosa::Id<Tag> id) const noexcept { return std::hash<int32_t>()(id.value); }
};

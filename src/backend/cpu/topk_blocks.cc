// Selection by bisection on the scores' bit patterns: floats order like integers once negative ones are turned over,
// and counting the keys above a threshold is a vector comparison. Some 20 passes over a row that lies in L1 beat
// any partition of it, which mispredicts a branch per element or so.
#include "ops/topk_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/topk_blocks.cc"
#include "backend/cpu/simd.h"

#include <bit>
#include <limits>

#include "backend/cpu/cpu_backend.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

using KeyTag = hn::RebindToSigned<FloatTag>;

// Below the key of -inf: members and padding, never selected.
constexpr int32_t kNoKey = std::numeric_limits<int32_t>::min();

struct KeyRange {
  int32_t least, most;
};

// keys[b] orders like scores[b]; `padded` - blocks keys more are kNoKey. Returns the range of all scores.
KeyRange MakeKeys(const float* scores, size_t blocks, size_t padded, int32_t* keys) {
  const FloatTag d;
  const KeyTag di;
  const size_t lanes = FloatLanes();
  auto least = hn::Set(di, std::numeric_limits<int32_t>::max()), most = hn::Set(di, kNoKey);
  for (size_t b = 0; b < padded; b += lanes) {
    const bool whole = b + lanes <= blocks;
    const size_t left = blocks - HWY_MIN(b, blocks);
    const auto score = whole ? hn::LoadU(d, scores + b) : LoadWideN(d, scores + b, left);
    // -0 + 0 is +0, so that the two zeros tie.
    const auto word = hn::BitCast(di, hn::Add(score, hn::Zero(d)));
    auto key = hn::Xor(word, hn::And(hn::BroadcastSignBit(word), hn::Set(di, 0x7fffffff)));
    least = hn::Min(least, key);
    if (!whole) key = hn::IfThenElse(hn::FirstN(di, left), key, hn::Set(di, kNoKey));
    most = hn::Max(most, key);
    hn::Store(key, di, keys + b);
  }
  return {hn::GetLane(hn::MinOfLanes(di, least)), hn::GetLane(hn::MaxOfLanes(di, most))};
}

// How many of keys[0 .. padded) are >= bound.
size_t CountFrom(const int32_t* keys, size_t padded, int32_t bound) {
  const KeyTag di;
  const size_t lanes = FloatLanes();
  const auto below = hn::Set(di, bound - 1);  // bound > kNoKey, so this does not overflow
  size_t a = 0, b = 0;
  size_t i = 0;
  for (; i + 2 * lanes <= padded; i += 2 * lanes) {
    a += hn::CountTrue(di, hn::Gt(hn::Load(di, keys + i), below));
    b += hn::CountTrue(di, hn::Gt(hn::Load(di, keys + i + lanes), below));
  }
  for (; i < padded; i += lanes) a += hn::CountTrue(di, hn::Gt(hn::Load(di, keys + i), below));
  return a + b;
}

// Bit i: keys[i] >= bound, for 64 keys.
uint64_t BitsFrom(const int32_t* keys, int32_t bound) {
  const KeyTag di;
  const size_t lanes = FloatLanes();
  const auto below = hn::Set(di, bound - 1);  // bound > kNoKey, so this does not overflow
  uint64_t bits = 0;
  for (size_t i = 0; i < 64; i += lanes) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(di, hn::Gt(hn::Load(di, keys + i), below), bytes);
    uint64_t some = 0;
    for (size_t byte = 0; byte < (lanes + 7) / 8; ++byte) some |= uint64_t{bytes[byte]} << (8 * byte);
    bits |= some << i;
  }
  return bits;
}

// The greatest bound with at least `need` keys from it on, where least has that many; stops early at a bound with just
// `need`.
struct Threshold {
  int32_t bound = 0;
  size_t above = 0;  // keys beyond `bound`, less than `need`; when `exact`: the keys from `bound` on are the answer
  bool exact = false;
};
Threshold FindThreshold(const int32_t* keys, size_t padded, KeyRange range, size_t need) {
  int64_t low = range.least, high = static_cast<int64_t>(range.most) + 1;
  size_t above = 0;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    const size_t count = CountFrom(keys, padded, static_cast<int32_t>(middle));
    if (count == need) return {static_cast<int32_t>(middle), 0, true};
    if (count > need) {
      low = middle;
    } else {
      high = middle;
      above = count;
    }
  }
  return {static_cast<int32_t>(low), above, false};
}

void SelectRow(const ops::TopkBlocksArgs::Row& row, size_t k, Scratch& scratch) {
  const auto blocks = static_cast<size_t>(row.blocks);
  const size_t words = (blocks + 63) / 64, padded = words * 64;
  size_t members = 0;
  for (size_t w = 0; w < words; ++w) members += static_cast<size_t>(std::popcount(row.mask[w]));
  if (members >= k || members == blocks) return;
  if (blocks <= k) {
    for (size_t w = 0; w < words; ++w) row.mask[w] = ~uint64_t{0};
    if (blocks % 64 != 0) row.mask[words - 1] = (uint64_t{1} << (blocks % 64)) - 1;
    return;
  }

  int32_t* keys = scratch.Get<int32_t>(padded);
  const KeyRange range = MakeKeys(row.scores, blocks, padded, keys);
  for (size_t w = 0; w < words; ++w) {
    for (uint64_t bits = row.mask[w]; bits != 0; bits &= bits - 1)
      keys[w * 64 + static_cast<size_t>(std::countr_zero(bits))] = kNoKey;
  }
  const size_t need = k - members;
  const Threshold threshold = FindThreshold(keys, padded, range, need);
  size_t ties = threshold.exact ? 0 : need - threshold.above;
  for (size_t w = 0; w < words; ++w) {
    const uint64_t from = BitsFrom(keys + w * 64, threshold.bound);
    if (threshold.exact) {
      row.mask[w] |= from;
      continue;
    }
    // bound is the key of a finite score or an infinity, so bound + 1 does not overflow.
    const uint64_t beyond = BitsFrom(keys + w * 64, threshold.bound + 1);
    row.mask[w] |= beyond;
    for (uint64_t equal = from & ~beyond; equal != 0 && ties > 0; equal &= equal - 1, --ties)
      row.mask[w] |= equal & (~equal + 1);
  }
}

void TopkBlocks(const ops::TopkBlocksArgs& args, CpuContext& context) {
  if (args.k <= 0) return;
  // A row of 512 blocks takes about half a microsecond.
  context.pool->ParallelFor(static_cast<int64_t>(args.rows.size()), 8, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; ++r) {
      SelectRow(args.rows[static_cast<size_t>(r)], static_cast<size_t>(args.k), context.scratch[thread]);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(TopkBlocks);

void topk_blocks(ops::Backend& backend, ops::Stream, const ops::TopkBlocksArgs& args) {
  HWY_DYNAMIC_DISPATCH(TopkBlocks)(args, ContextOf(backend));
}

}  // namespace nosa::cpu
#endif

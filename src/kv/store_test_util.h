// A store's sequences beside a plain model of their bytes: every token's values are a function of a salt, the lane and
// the position, so that what comes back can be told from anything else.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kv/fetch.h"
#include "kv/store.h"
#include "ops/reference/reference_backend.h"

namespace nosa::kv {

// Four lanes of blocks of four tokens.
inline BlockLayout SmallLayout() {
  return {.layers = 2,
          .kv_heads = 2,
          .block_size = 4,
          .k_dim = 3,
          .v_dim = 2,
          .dtype = DType::kF32,
          .has_importance = true};
}

inline std::unique_ptr<Tier> SmallTier(const std::string& name = "memory", bool direct = false) {
  auto tier = MakeTier(
      name,
      {.location = testing::TempDir(), .capacity_bytes = 4 * kMiB, .page_bytes = 0, .direct_io = direct, .io = {}});
  EXPECT_TRUE(tier.ok()) << tier.status().ToString();
  return std::move(tier).value();
}

// In [-1, 1), `i` counting k, then v, then s.
inline float ValueAt(uint32_t salt, int lane, int pos, int i) {
  uint32_t x = salt * 2654435761u ^ static_cast<uint32_t>(lane * 7919 + pos * 104729 + i * 1299709);
  x = (x ^ x >> 15) * 2246822519u;
  x = (x ^ x >> 13) * 3266489917u;
  return static_cast<float>(static_cast<int32_t>(x ^ x >> 16)) * 0x1p-31f;
}

// A sequence and the salt of each of its tokens.
struct KnownSequence {
  SeqId seq;
  std::vector<uint32_t> salts;
  int length() const { return static_cast<int>(salts.size()); }
};

inline void WriteToken(KvStore& store, SeqId seq, int pos, uint32_t salt) {
  const BlockLayout& layout = store.layout();
  for (int lane = 0; lane < layout.lanes(); ++lane) {
    const ops::KvRow row = store.Row(seq, lane, pos);
    for (int i = 0; i < layout.k_dim; ++i) static_cast<float*>(row.k)[i] = ValueAt(salt, lane, pos, i);
    for (int i = 0; i < layout.v_dim; ++i) static_cast<float*>(row.v)[i] = ValueAt(salt, lane, pos, layout.k_dim + i);
    if (row.s != nullptr) *row.s = ValueAt(salt, lane, pos, layout.k_dim + layout.v_dim);
  }
}

// One pass that appends.
inline Status Append(KvStore& store, KnownSequence* sequence, int tokens, uint32_t salt) {
  store.NextStep();
  NOSA_RETURN_IF_ERROR(store.BeginAppend(sequence->seq, tokens));
  const int first = store.length(sequence->seq);
  for (int pos = first; pos < first + tokens; ++pos) WriteToken(store, sequence->seq, pos, salt);
  store.CommitAppend(sequence->seq);
  sequence->salts.insert(sequence->salts.end(), static_cast<size_t>(tokens), salt);
  return Status::Ok();
}

// Expects the tokens of `block` that the sequence has. `tolerance`: of a lossy codec, on k and v.
inline void ExpectBlock(const BlockLayout& layout, const std::byte* bytes, const KnownSequence& sequence, int lane,
                        int block, float tolerance = 0) {
  const int first = block * layout.block_size;
  for (int t = 0; t < std::min(layout.block_size, sequence.length() - first); ++t) {
    const uint32_t salt = sequence.salts[static_cast<size_t>(first + t)];
    const ops::KvRow row = layout.Row(const_cast<std::byte*>(bytes), t);
    float worst = 0;
    for (int i = 0; i < layout.k_dim; ++i)
      worst = std::max(worst, std::abs(static_cast<float*>(row.k)[i] - ValueAt(salt, lane, first + t, i)));
    for (int i = 0; i < layout.v_dim; ++i) {
      worst =
          std::max(worst, std::abs(static_cast<float*>(row.v)[i] - ValueAt(salt, lane, first + t, layout.k_dim + i)));
    }
    ASSERT_TRUE(worst <= tolerance) << "lane " << lane << " token " << first + t << " of sequence "
                                    << sequence.seq.value << " is off by " << worst;
    if (row.s != nullptr) {
      ASSERT_EQ(*row.s, ValueAt(salt, lane, first + t, layout.k_dim + layout.v_dim))
          << "importance of token " << first + t;
    }
  }
}

// The blocks that are not sealed, in every lane.
inline void ExpectOpenBlocks(const KvStore& store, const KnownSequence& sequence, float tolerance = 0) {
  for (int block = store.sealed_blocks(sequence.seq); block < store.layout().Blocks(sequence.length()); ++block) {
    for (int lane = 0; lane < store.layout().lanes(); ++lane) {
      ExpectBlock(store.layout(), store.OpenBlock(sequence.seq, lane, BlockId(block)), sequence, lane, block,
                  tolerance);
    }
  }
}

// A sealed block to be read and what it should hold.
struct KnownWant {
  int lane = 0;
  const KnownSequence* sequence = nullptr;
  int block = 0;
};

// Fetches the wants, by lane, checks each when it is handed out, and in kAscending that each lane keeps its order.
// Holds up to `hold` blocks over the next call.
inline Status FetchAndCheck(KvStore& store, const std::vector<KnownWant>& known, BlockFetch::Order order,
                            size_t hold = 0, float tolerance = 0) {
  std::vector<BlockWant> wants;
  for (const KnownWant& want : known)
    wants.push_back(
        {want.lane, store.page(want.sequence->seq, BlockId(want.block)), ValueAt(1, want.lane, want.block, 0)});
  std::vector<int32_t> seen(wants.size(), 0), held;
  std::vector<int32_t> last(static_cast<size_t>(store.layout().lanes()), -1);
  BlockFetch fetch(store, order);
  fetch.Start(wants);
  for (;;) {
    const auto ready = fetch.Next();
    if (!ready.ok()) return ready.status();
    if (ready->empty()) break;
    for (const int32_t i : *ready) {
      const KnownWant& want = known[static_cast<size_t>(i)];
      EXPECT_EQ(seen[static_cast<size_t>(i)]++, 0) << "want " << i << " was handed out twice";
      int32_t& before = last[static_cast<size_t>(want.lane)];
      if (order == BlockFetch::Order::kAscending) {
        EXPECT_LT(before, i) << "out of order";
      }
      before = i;
      ExpectBlock(store.layout(), fetch.Block(i), *want.sequence, want.lane, want.block, tolerance);
      held.push_back(i);
    }
    const size_t keep = std::min(hold, held.size());
    fetch.Release(std::span(held).first(held.size() - keep));
    held.erase(held.begin(), held.end() - static_cast<ptrdiff_t>(keep));
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<ptrdiff_t>(seen.size()));
  fetch.Release(held);
  return Status::Ok();
}

// Every sealed block of the sequences, every lane.
inline std::vector<KnownWant> AllWants(const KvStore& store, const std::vector<const KnownSequence*>& sequences) {
  std::vector<KnownWant> wants;
  for (int lane = 0; lane < store.layout().lanes(); ++lane) {
    for (const KnownSequence* sequence : sequences) {
      for (int block = 0; block < store.sealed_blocks(sequence->seq); ++block) wants.push_back({lane, sequence, block});
    }
  }
  return wants;
}

}  // namespace nosa::kv

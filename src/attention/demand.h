// The plan of one layer's attention as plain data: which block is read by which query rows, into which partial states.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/selection.h"
#include "base/ids.h"
#include "ops/block_attention.h"

namespace nosa::attention {

// Consecutive tokens of one sequence among the rows of a forward call.
struct Segment {
  SeqId seq;
  int32_t row_begin = 0;
  int32_t rows = 0;
  int32_t first_pos = 0;  // position of its first row
};

// How partial results are kept. Both give the same bits: parts are merged in ascending block order either way.
enum class StateMode : uint8_t {
  kRunning,  // one state per row and KV head, into which parts are merged as blocks are visited in order
  kParts,    // one state per row, KV head and block, merged at the end: blocks may come in any order
};

// One block of one sequence and KV head, and its readers.
struct Reader {
  int32_t kv_head = 0;
  int32_t segment = 0;
  int32_t block = 0;
  int32_t ref_begin = 0;
  int32_t ref_count = 0;  // ascending rows; without refs, [ref_begin, ref_begin + ref_count) are the segment's rows
};

// Above this many parts their memory (a head's values each) costs more than waiting for blocks in order does: a decode
// step of 64 sequences with 64 blocks and 2 KV heads has 8,192.
inline constexpr int64_t kMostParts = 16384;

struct Demand {
  StateMode mode = StateMode::kRunning;
  std::vector<Reader> readers;                     // by KV head, segment, block
  std::vector<ops::BlockAttentionArgs::Ref> refs;  // grouped by reader; none when `masked`
  bool masked = false;                             // who reads what is only in the selection's masks
  // CSR over (row, KV head): the states to merge, in order.
  std::vector<int32_t> offsets;
  std::vector<int32_t> order;
  int64_t states = 0;
};

// Turns a selection into a plan. kParts up to kMostParts parts, else kRunning, then without refs if `masked`: a long
// prompt's are millions, and whoever can read the masks needs none.
void BuildDemand(const Selection& selection, std::span<const Segment> segments, Demand* demand, bool masked = false);

// The same without a look at the selection, for whoever reads the masks: kRunning, of every block some row may read.
void BuildWholeDemand(int rows, int kv_heads, int block_size, std::span<const Segment> segments, Demand* demand);

}  // namespace nosa::attention

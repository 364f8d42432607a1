// Selections as data: made-up ones with a given locality, for measuring transfers without a trained model, and those of
// a real model, written and read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "io/safetensors.h"
#include "model/runner.h"
#include "ops/select_blocks.h"

namespace nosa::apps {

struct TraceShape {
  int rows = 1;  // independent sequences
  int steps = 1;
  int lanes = 1;     // layers x KV heads
  int width = 1;     // picks beside the forced blocks
  int selected = 1;  // k: picks and forced blocks; locality is a share of it
  int places = 1;    // blocks there are to pick from
};

// Which block comes when one changes. Either way the same number changes per step, so locality is the same; how often a
// block comes back is what a cache beyond the selection lives on.
enum class TraceReuse : uint8_t {
  kUniform,  // any block: nothing comes back sooner than chance
  // As nosa-21m selects: an LRU stack whose depths (selection_trace.cc) are fitted to what slots beyond the selection
  // save on its recorded selections (bench/results/gpu-slack-recorded.json).
  kStack,
};
Result<TraceReuse> ParseTraceReuse(std::string_view name);  // "uniform", "stack"

// picks [rows, steps, lanes, width]. `locality`: the share of a step's blocks that the step before had too.
std::vector<uint16_t> MakeTrace(const TraceShape& shape, double locality, TraceReuse reuse, uint64_t seed);

// Which blocks consecutive positions of one sequence read, as a safetensors file has them: layer.L.selected u8
// [positions, KV heads, blocks].
class SelectionRecorder {
 public:
  // `tokens`: of the sequence, at most.
  SelectionRecorder(const model::Model& model, int tokens);
  // The next position's: row `row` of the record.
  void Add(const model::SelectionRecord& record, int row);
  int positions() const { return positions_; }
  // Borrows until the writer has written.
  void AddTo(io::SafetensorsWriter* writer);

 private:
  int kv_heads_, blocks_, positions_ = 0;
  std::vector<std::vector<uint8_t>> selected_;  // by layer
};

// Selections of a real model, as `nosa trace` and `nosa generate --record-trace` write them, as picks [1, steps, lanes,
// width] for a rule that forces the first `init_blocks` and each position's own and `local_blocks` before it. Places
// that a step does not use are 65535.
struct RecordedTrace {
  std::vector<uint16_t> picks;
  int steps = 0;
  int lanes = 0;
  int width = 0;       // the most picks of any step and lane
  int last_block = 0;  // of the last position
};
Result<RecordedTrace> ReadTrace(const std::string& file, int init_blocks, int local_blocks);

}  // namespace nosa::apps

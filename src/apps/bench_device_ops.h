// nosa bench ops on a device: what a prompt's chunk is made of, at the sizes of the 8B shape.
#pragma once

#include <string>
#include <vector>

#include "apps/bench.h"
#include "ops/backend.h"

namespace nosa::apps {

struct DeviceOpSizes {
  int context = 32768;
  int rows = 2048;        // of a chunk, at the end of the context
  int scored_rows = 512;  // of a call of window_scores, as selectors make it
  int heads = 32, kv_heads = 2, dim = 128, block = 64;
  int hidden = 4096, inner = 14336, vocab = 73448;
  int selected = 64;  // blocks of a query
  int repeats = 9;
};

struct DeviceOpRow {
  std::string name;
  Spread seconds;  // of one call, of many in a row
  double bytes = 0, flops = 0;
};

// Fails when the result of an attention or a draw differs from its twin's: nothing wrong is timed.
Result<std::vector<DeviceOpRow>> BenchDeviceOps(ops::Backend& backend, const DeviceOpSizes& sizes);

// The ops on whole sequences, by which a model is learnt.
struct SequenceOpSizes {
  std::vector<int> tokens = {8192, 32768};
  int batch_tokens = 65536;  // of a call: as many sequences as that holds, at least one
  int heads = 8, kv_heads = 2, dim = 64;
  int block = 64, window = 32, stride = 16;
  int local_blocks = 4, query_blocks = 8, selected = 32;  // blocks of a query, by the rule of nosa
  int repeats = 9;
};
// A row each for selection, forward and backward pass, with the selected blocks and with all of them. Queries change
// little from token to token, as learnt ones do. (The conformance tests compare them with their twins.)
Result<std::vector<DeviceOpRow>> BenchSequenceOps(ops::Backend& backend, const SequenceOpSizes& sizes);

Status ReportDeviceOps(const ops::Backend& backend, const std::vector<DeviceOpRow>& rows, bool json);

}  // namespace nosa::apps

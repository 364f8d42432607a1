// What the benchmarks share: one table of rows that prints for people and for machines.
#pragma once

#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/common_flags.h"
#include "apps/session.h"
#include "base/status.h"
#include "io/json.h"
#include "tensor/buffer.h"

namespace nosa::apps {

// Median and spread of repeated measurements.
struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread SpreadOf(std::vector<double> values);

// Fails when a median is not positive: nothing is reported that was not measured.
Status CheckMeasured(double value, std::string_view what);

// Normal numbers times `scale`, by a fixed seed, which come again after some 65,536.
Buffer RandomBuffer(DType dtype, int64_t elements, uint64_t stream, float scale);

// A prompt for speed: token ids by a fixed seed, within the vocabulary.
std::vector<TokenId> BenchPrompt(const model::Model& model, int tokens);

// What every report says of the machine and the model.
io::OrderedJson BenchHeader(const Session& session, std::string_view benchmark);

// Bytes of weights one decode step reads: every matrix once (the embedding's rows apart when it is not the head).
uint64_t WeightBytesPerStep(const model::Model& model);

void AddBenchDecode(Command command);
void AddBenchPrefill(Command command);
void AddBenchServe(Command command);
void AddBenchOps(Command command);
void AddBenchTransfer(Command command);

}  // namespace nosa::apps

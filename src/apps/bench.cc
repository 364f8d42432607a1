#include "apps/bench.h"

#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "schema/tensors.h"

namespace nosa::apps {

Spread SpreadOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2, values.front(), values.back()};
}

Status CheckMeasured(double value, std::string_view what) {
  return value > 0 ? Status::Ok() : Internal("{} could not be measured", what);
}

Buffer RandomBuffer(DType dtype, int64_t elements, uint64_t stream, float scale) {
  Buffer buffer = Buffer::Host(static_cast<size_t>(elements) * DTypeBytes(dtype));
  const Philox rng(3, stream);
  constexpr int64_t kPeriod = 1 << 16;
  const int64_t period = std::min(elements, kPeriod);
  for (int64_t i = 0; i < period; ++i)
    StoreFloat(buffer.data(), dtype, static_cast<size_t>(i), rng.Normal(static_cast<uint64_t>(i)) * scale);
  const size_t chunk = static_cast<size_t>(period) * DTypeBytes(dtype);
  for (size_t at = chunk; at < buffer.size(); at += chunk)
    std::memcpy(buffer.data() + at, buffer.data(), std::min(chunk, buffer.size() - at));
  return buffer;
}

std::vector<TokenId> BenchPrompt(const model::Model& model, int tokens) {
  const Philox rng(20261121);
  std::vector<TokenId> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<TokenId>(rng.Block(i)[0] % static_cast<uint32_t>(model.config().vocab_size));
  return ids;
}

io::OrderedJson BenchHeader(const Session& session, std::string_view benchmark) {
  io::OrderedJson json;
  json["benchmark"] = benchmark;
  json["model"] = session.flags.model;
  json["dtype"] = DTypeName(session.model->dtype());
  json["backend"] = session.backend->Describe();
  json["threads"] = session.backend->threads();
  return json;
}

uint64_t WeightBytesPerStep(const model::Model& model) {
  const schema::ModelConfig& config = model.config();
  uint64_t elements = 0;
  for (const schema::TensorSpec& tensor : schema::ExpectedTensors(config)) {
    if (tensor.by_row) continue;
    elements += static_cast<uint64_t>(tensor.shape.elements());
  }
  return elements * DTypeBytes(model.dtype());
}

void AddBench(Command command) {
  AddBenchDecode(command.Sub("decode", "milliseconds a token over context length, with KV in RAM or offloaded"));
  AddBenchPrefill(command.Sub("prefill", "tokens a second over prompt length, sparse and dense"));
  AddBenchServe(command.Sub("serve", "the server under load over HTTP, with KV offloaded and with all of it in RAM"));
  AddBenchOps(command.Sub("ops", "the operations alone, against what this machine's memory and oneDNN give"));
  AddBenchTransfer(
      command.Sub("transfer", "what a GPU, its host and the way between them give, with what KV is moved by"));
}

}  // namespace nosa::apps

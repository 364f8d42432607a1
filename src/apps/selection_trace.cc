#include "apps/selection_trace.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"
#include "io/safetensors.h"

namespace nosa::apps {
namespace {

// Where in the list of dropped blocks, newest first and in units of k, the one that comes back is found; the rest of
// the probability: anywhere.
struct StackStep {
  double depth, share;
};
constexpr std::array<StackStep, 4> kStackSteps = {{{0.25, 0.598}, {0.5, 0.779}, {1.0, 0.908}, {2.0, 0.967}}};

// One lane of one row, step by step.
class Lane {
 public:
  Lane(const TraceShape& shape, double locality, TraceReuse reuse, Philox rng)
      : shape_(shape), changes_((1 - locality) * shape.selected), reuse_(reuse), rng_(rng) {
    std::vector<uint16_t> all(static_cast<size_t>(shape.places));
    std::iota(all.begin(), all.end(), uint16_t{0});
    for (size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[Below(i)]);
    members_.assign(all.begin(), all.begin() + shape.width);
    dropped_.assign(all.begin() + shape.width, all.end());
  }

  const std::vector<uint16_t>& members() const { return members_; }

  void Advance() {
    const double whole = std::floor(changes_);
    size_t n = static_cast<size_t>(whole) + (Uniform() < changes_ - whole ? 1 : 0);
    n = std::min({n, members_.size(), dropped_.size()});
    std::vector<uint16_t> leaving;
    for (size_t i = 0; i < n; ++i) {
      uint16_t& member = members_[i + Below(members_.size() - i)];
      std::swap(members_[i], member);
      leaving.push_back(members_[i]);
    }
    for (size_t i = 0; i < n; ++i) {
      const size_t at = Depth();
      members_[i] = dropped_[at];
      dropped_.erase(dropped_.begin() + static_cast<ptrdiff_t>(at));
    }
    dropped_.insert(dropped_.begin(), leaving.begin(), leaving.end());
  }

 private:
  double Uniform() { return rng_.Uniform(next_++); }
  size_t Below(size_t n) { return std::min(n - 1, static_cast<size_t>(Uniform() * static_cast<double>(n))); }

  size_t Depth() {
    if (reuse_ == TraceReuse::kUniform) return Below(dropped_.size());
    const double share = Uniform();
    double from = 0;
    for (const StackStep& step : kStackSteps) {
      const size_t first = static_cast<size_t>(from * shape_.selected);
      const size_t last = static_cast<size_t>(step.depth * shape_.selected);
      if (share < step.share && last > first && last <= dropped_.size()) return first + Below(last - first);
      from = step.depth;
    }
    return Below(dropped_.size());
  }

  const TraceShape& shape_;
  double changes_;
  TraceReuse reuse_;
  Philox rng_;
  uint64_t next_ = 0;
  std::vector<uint16_t> members_, dropped_;
};

}  // namespace

Result<TraceReuse> ParseTraceReuse(std::string_view name) {
  if (name == "uniform") return TraceReuse::kUniform;
  if (name == "stack") return TraceReuse::kStack;
  return InvalidArgument("expected uniform or stack, found \"{}\"", name);
}

std::vector<uint16_t> MakeTrace(const TraceShape& shape, double locality, TraceReuse reuse, uint64_t seed) {
  NOSA_CHECK(shape.width <= shape.places && shape.places <= 65536, "a trace picks {} of {} blocks", shape.width,
             shape.places);
  const size_t width = static_cast<size_t>(shape.width), lanes = static_cast<size_t>(shape.lanes);
  const size_t steps = static_cast<size_t>(shape.steps);
  std::vector<uint16_t> picks(static_cast<size_t>(shape.rows) * steps * lanes * width);
  for (size_t row = 0; row < static_cast<size_t>(shape.rows); ++row) {
    for (size_t lane = 0; lane < lanes; ++lane) {
      Lane state(shape, locality, reuse, Philox(seed, row * lanes + lane));
      for (size_t step = 0; step < steps; ++step) {
        std::copy(state.members().begin(), state.members().end(),
                  picks.begin() + static_cast<ptrdiff_t>(((row * steps + step) * lanes + lane) * width));
        state.Advance();
      }
    }
  }
  return picks;
}

SelectionRecorder::SelectionRecorder(const model::Model& model, int tokens)
    : kv_heads_(model.config().num_kv_heads),
      blocks_(model.block_layout().Blocks(tokens)),
      selected_(static_cast<size_t>(model.config().num_layers)) {}

void SelectionRecorder::Add(const model::SelectionRecord& record, int row) {
  NOSA_CHECK(record.layers.size() == selected_.size(), "a record of {} layers, expected {}", record.layers.size(),
             selected_.size());
  const size_t position_bytes = static_cast<size_t>(kv_heads_) * static_cast<size_t>(blocks_);
  for (size_t layer = 0; layer < selected_.size(); ++layer) {
    std::vector<uint8_t>& selected = selected_[layer];
    selected.resize(selected.size() + position_bytes, 0);
    for (int g = 0; g < kv_heads_; ++g) {
      uint8_t* blocks = selected.data() + selected.size() - position_bytes + static_cast<size_t>(g * blocks_);
      model::ForEachBit(record.layers[layer].Mask(row, g), [&](int block) { blocks[block] = 1; });
    }
  }
  ++positions_;
}

void SelectionRecorder::AddTo(io::SafetensorsWriter* writer) {
  for (size_t layer = 0; layer < selected_.size(); ++layer) {
    writer->Add(fmt::format("layer.{}.selected", layer),
                TensorView(selected_[layer].data(), DType::kU8, {positions_, kv_heads_, blocks_}));
  }
}

Result<RecordedTrace> ReadTrace(const std::string& file, int init_blocks, int local_blocks) {
  NOSA_ASSIGN_OR_RETURN(const std::shared_ptr<const io::Safetensors> tensors, io::Safetensors::OpenFile(file));
  std::vector<ConstTensorView> layers;
  while (tensors->Has(fmt::format("layer.{}.selected", layers.size()))) {
    NOSA_ASSIGN_OR_RETURN(const ConstTensorView layer, tensors->Get(fmt::format("layer.{}.selected", layers.size())));
    if (layer.dtype() != DType::kU8 || layer.shape().rank() != 3 ||
        (!layers.empty() && layer.shape() != layers[0].shape())) {
      return InvalidArgument("expected selections u8 [steps, KV heads, blocks] in {}, found {} {}", file,
                             DTypeName(layer.dtype()), layer.shape().ToString());
    }
    layers.push_back(layer);
  }
  if (layers.empty()) return InvalidArgument("expected layer.0.selected in {}, as `nosa trace` writes it", file);
  const int64_t steps = layers[0].dim(0), heads = layers[0].dim(1), blocks = layers[0].dim(2);
  RecordedTrace trace;
  trace.steps = static_cast<int>(steps);
  trace.lanes = static_cast<int>(static_cast<int64_t>(layers.size()) * heads);
  std::vector<std::vector<uint16_t>> lists;
  for (int64_t step = 0; step < steps; ++step) {
    for (const ConstTensorView& layer : layers) {
      for (int64_t g = 0; g < heads; ++g) {
        const uint8_t* selected = layer.row<uint8_t>(step) + g * blocks;
        int64_t own = blocks - 1;
        while (own > 0 && selected[own] == 0) --own;  // every position reads its own block
        trace.last_block = static_cast<int>(own);
        std::vector<uint16_t>& list = lists.emplace_back();
        for (int64_t b = init_blocks; b < own - local_blocks; ++b) {
          if (selected[b] != 0) list.push_back(static_cast<uint16_t>(b - init_blocks));
        }
        trace.width = std::max(trace.width, static_cast<int>(list.size()));
      }
    }
  }
  for (std::vector<uint16_t>& list : lists) {
    list.resize(static_cast<size_t>(trace.width), 65535);
    trace.picks.insert(trace.picks.end(), list.begin(), list.end());
  }
  return trace;
}

}  // namespace nosa::apps

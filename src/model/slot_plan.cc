#include "model/slot_plan.h"

#include <algorithm>

#include "attention/selector.h"
#include "base/bytes.h"

namespace nosa::model {
namespace {

struct SlotRange {
  int least, all;
};

// Between what a step reads beside its tail, and every sealed block.
Result<SlotRange> RangeOf(const Model& model, const DecodeStepOptions& options) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<attention::BlockSelector> selector,
                        attention::MakeSelector(options.attention.selector, model.attention_config()));
  if (!selector->rule()) {
    return FailedPrecondition("attention \"{}\" has no rule that a device could follow by itself", selector->name());
  }
  const int blocks = model.block_layout().Blocks(options.max_tokens), all = std::max(1, blocks - 1);
  const int width = ops::SelectionWidth(*selector->rule(), blocks);
  return SlotRange{std::clamp(width - 1, 1, all), all};
}

// Slots that fit, or 0.
int Fitting(const Model& model, DecodeStepOptions options, const StepMemory& memory, int most) {
  const auto bytes = [&](int slots, bool kv) {
    options.slots = slots;
    return kv ? kv::SeatStore::DeviceBytes({model.block_layout(), options.seats, slots, options.max_tokens})
              : DecodeStep::DeviceBytes(model, options);
  };
  // Linear in slots, from the first one on.
  const auto fit = [&](uint64_t limit, bool kv) {
    const uint64_t one = bytes(1, kv), each = bytes(2, kv) - one;
    if (one > limit) return 0;
    return static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(most - 1), (limit - one) / each)) + 1;
  };
  const int slots = fit(memory.available, false);
  return memory.kv_bytes ? std::min(slots, fit(*memory.kv_bytes, true)) : slots;
}

}  // namespace

int MostSeats(const Model& model, DecodeStepOptions options, const StepMemory& memory, const ops::Backend& backend) {
  const int wanted = options.seats;
  const Result<SlotRange> range = RangeOf(model, options);
  if (!range.ok()) return 0;
  if (HostAddressable(backend.compute_memory()) && !memory.kv_bytes) return wanted;
  int low = 0, high = wanted + 1;
  while (high - low > 1) {
    options.seats = (low + high) / 2;
    (Fitting(model, options, memory, range->all) >= range->least ? low : high) = options.seats;
  }
  return low;
}

Result<int> ChooseSlots(const Model& model, const DecodeStepOptions& options, const StepMemory& memory,
                        const ops::Backend& backend) {
  NOSA_ASSIGN_OR_RETURN(const SlotRange range, RangeOf(model, options));
  if (HostAddressable(backend.compute_memory()) && !memory.kv_bytes) return 0;
  const int fitting = Fitting(model, options, memory, range.all);
  if (fitting >= range.least) {
    if (fitting == range.all || memory.kv_bytes) return fitting;
    return std::min(fitting, kMostSlack * range.least);
  }
  DecodeStepOptions least = options;
  least.slots = range.least;
  const kv::SeatOptions seats = {model.block_layout(), options.seats, range.least, options.max_tokens};
  const uint64_t needs = kv::SeatStore::DeviceBytes(seats);
  const int would = MostSeats(model, options, memory, backend);
  const std::string instead = would > 0 ? fmt::format("{} at once would fit", would) : "not even one would fit";
  if (memory.kv_bytes && needs > *memory.kv_bytes) {
    return ResourceExhausted(
        "the KV budget on the device is {}, {} sequences of up to {} tokens that answer at once need at least {} ({} "
        "blocks per layer and KV head); {}",
        FormatByteSize(*memory.kv_bytes), options.seats, options.max_tokens, FormatByteSize(needs), range.least,
        instead);
  }
  return ResourceExhausted(
      "the device has {} left for decoding, {} sequences of up to {} tokens that answer at once need at least {}; {}",
      FormatByteSize(memory.available), options.seats, options.max_tokens,
      FormatByteSize(DecodeStep::DeviceBytes(model, least)), instead);
}

}  // namespace nosa::model

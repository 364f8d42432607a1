#include "attention/step.h"

#include <algorithm>
#include <cstring>

#include "ops/advance_seats.h"
#include "ops/append_token.h"
#include "ops/copy_blocks.h"
#include "ops/seat_attention.h"

namespace nosa::attention {
namespace {

constexpr ops::Stream kCompute = {0};

// Entries of a plan: one per block that a lane may select.
size_t ListsOf(const AttentionConfig& config, int width, int seats) {
  return static_cast<size_t>(seats * config.kv_heads) * static_cast<size_t>(width);
}

// 0 where there is no such selector, or it has no rule.
int WidthOf(const AttentionConfig& config, const StepOptions& options, const kv::SeatOptions& seats) {
  const Result<std::unique_ptr<BlockSelector>> selector = MakeSelector(options.selector, config);
  if (!selector.ok() || !(*selector)->rule()) return 0;
  return ops::SelectionWidth(*(*selector)->rule(), seats.layout.Blocks(seats.max_tokens));
}

}  // namespace

uint64_t StepAttention::ScratchBytes(const AttentionConfig& config, const StepOptions& options,
                                     const kv::SeatOptions& seats) {
  const uint64_t lanes = static_cast<uint64_t>(seats.seats * config.kv_heads);
  const uint64_t group = static_cast<uint64_t>(config.group()),
                 blocks = static_cast<uint64_t>(seats.layout.Blocks(seats.max_tokens));
  const uint64_t windows = blocks * static_cast<uint64_t>(config.block_size / config.kernel_stride);
  constexpr uint64_t kPiece = 64;  // windows with softmax statistics of their own, two numbers a head
  const uint64_t selection = group * (windows + 2 * (windows / kPiece + 1)) + 2 * blocks;
  const uint64_t splits = static_cast<uint64_t>(ops::SplitsOf(WidthOf(config, options, seats)));
  const uint64_t attention = splits * group * static_cast<uint64_t>(config.head_dim + 2);
  return lanes * std::max(selection, attention) * sizeof(float);
}

uint64_t StepAttention::DeviceBytes(const AttentionConfig& config, const StepOptions& options,
                                    const kv::SeatOptions& seats) {
  const int width = WidthOf(config, options, seats);
  if (width == 0) return 0;
  const size_t lanes = static_cast<size_t>(seats.layout.lanes()) * static_cast<size_t>(seats.seats);
  return SummaryLayout(config, seats.max_tokens).bytes() * static_cast<size_t>(seats.seats) +
         lanes * sizeof(ops::WindowState) +
         ListsOf(config, width, seats.seats) * (2 * sizeof(int32_t) + sizeof(std::byte*) + sizeof(ops::BlockCopy)) +
         static_cast<size_t>(seats.seats * config.kv_heads + 2 * config.layers) * sizeof(int32_t) +
         sizeof(ops::SlotCounters);
}

Result<std::unique_ptr<StepAttention>> StepAttention::Create(const AttentionConfig& config, const StepOptions& options,
                                                             kv::SeatStore* store, ops::Backend* backend) {
  std::unique_ptr<StepAttention> step(new StepAttention(config, options, store, backend));
  NOSA_RETURN_IF_ERROR(step->Init());
  return step;
}

Status StepAttention::Init() {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<BlockSelector> selector, MakeSelector(options_.selector, config_));
  traits_ = selector->traits();
  if (traits_.needs_importance && !config_.has_importance) {
    return FailedPrecondition("attention \"{}\" needs importance weights, this checkpoint has none", options_.selector);
  }
  if (!selector->rule()) {
    return FailedPrecondition("attention \"{}\" has no rule that a device could follow by itself", options_.selector);
  }
  rule_ = *selector->rule();
  width_ = ops::SelectionWidth(rule_, store_->max_blocks());
  const kv::SeatOptions& seats = store_->options();
  if (seats.slots > 0 && seats.slots < width_ - 1) {
    return ResourceExhausted("a step reads up to {} blocks per KV head, there are {} slots", width_ - 1, seats.slots);
  }
  const size_t lists = ListsOf(config_, width_, seats.seats);
  const size_t lanes = static_cast<size_t>(seats.layout.lanes()) * static_cast<size_t>(seats.seats);
  const size_t layers = static_cast<size_t>(config_.layers);
  const MemoryKind device = backend_->compute_memory(), shared = backend_->shared_memory();
  const auto allocate = [&](size_t bytes, MemoryKind kind, Buffer* buffer) -> Status {
    NOSA_ASSIGN_OR_RETURN(*buffer, backend_->Allocate(bytes, kind));
    return Status::Ok();
  };
  NOSA_RETURN_IF_ERROR(allocate(summary_layout_.bytes() * static_cast<size_t>(seats.seats), device, &summaries_));
  NOSA_RETURN_IF_ERROR(allocate(lanes * sizeof(ops::WindowState), device, &states_));
  NOSA_RETURN_IF_ERROR(allocate(lists * sizeof(int32_t), device, &ids_));
  NOSA_RETURN_IF_ERROR(
      allocate(static_cast<size_t>(seats.seats * config_.kv_heads) * sizeof(int32_t), device, &counts_));
  NOSA_RETURN_IF_ERROR(allocate(lists * sizeof(std::byte*), device, &addresses_));
  NOSA_RETURN_IF_ERROR(allocate(lists * sizeof(int32_t), device, &arrivals_));
  NOSA_RETURN_IF_ERROR(allocate(lists * sizeof(ops::BlockCopy), device, &copies_));
  NOSA_RETURN_IF_ERROR(allocate(layers * sizeof(int32_t), device, &copy_counts_));
  NOSA_RETURN_IF_ERROR(allocate(layers * sizeof(int32_t), device, &zeros_));
  NOSA_RETURN_IF_ERROR(allocate(sizeof(ops::SlotCounters), device, &counters_));
  NOSA_RETURN_IF_ERROR(allocate(sizeof(ops::SlotCounters), shared, &shared_counters_));

  // [layer][seat][KV head], as a layer's ops take them.
  NOSA_ASSIGN_OR_RETURN(const Buffer staged, backend_->Allocate(states_.size(), shared));
  size_t at = 0;
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (int seat = 0; seat < seats.seats; ++seat) {
      for (int g = 0; g < config_.kv_heads; ++g) {
        staged.as<ops::WindowState>()[at++] =
            summary_layout_.State(summaries(seat), seats.layout.Lane(LayerIdx(layer), g));
      }
    }
  }
  backend_->Copy(states_.data(), staged.data(), at * sizeof(ops::WindowState), kCompute);
  backend_->Synchronize(kCompute);
  return Status::Ok();
}

void StepAttention::BeginStep() {
  backend_->Copy(copy_counts_.data(), zeros_.data(), static_cast<size_t>(config_.layers) * sizeof(int32_t), kCompute);
}

void StepAttention::EndStep() {
  ops::advance_seats(*backend_, kCompute,
                     {.positions = store_->positions_data(), .seats = store_->options().seats, .step = store_->step()});
}

Status StepAttention::Run(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q, ConstTensorView k,
                          ConstTensorView v, ConstTensorView s, TensorView out) {
  const int seats = store_->options().seats;
  const size_t lanes = static_cast<size_t>(seats * config_.kv_heads);
  const std::span<const ops::WindowState> states = {
      states_.as<ops::WindowState>() + static_cast<size_t>(layer.value) * lanes, lanes};
  const ops::SlotLanes slots = store_->Lanes(layer);
  const ops::StepSelection selection = {ids_.as<int32_t>(), counts_.as<int32_t>(), width_};
  ops::append_token(*backend_, kCompute,
                    {.k = k,
                     .v = v,
                     .s = s,
                     .positions = store_->positions(),
                     .states = states,
                     .lanes = slots,
                     .frame = store_->frame(),
                     .kernel_size = config_.kernel_size,
                     .kernel_stride = config_.kernel_stride,
                     .summary_dtype = config_.kv_dtype});
  ops::SelectionReplay replay;
  if (options_.trace != nullptr && !rule_.every_block) {
    replay = {*options_.trace, layer.value * config_.kv_heads % options_.trace->lanes, store_->step(),
              options_.trace_stagger};
  }
  ops::select_blocks(*backend_, kCompute,
                     {.q = q,
                      .positions = store_->positions(),
                      .states = states,
                      .rule = rule_,
                      .kv_heads = config_.kv_heads,
                      .block_size = config_.block_size,
                      .kernel_size = config_.kernel_size,
                      .kernel_stride = config_.kernel_stride,
                      .max_blocks = store_->max_blocks(),
                      .scale = config_.scale(),
                      .summary_dtype = config_.kv_dtype,
                      .selection = selection,
                      .replay = replay});
  int32_t* copy_count = copy_counts_.as<int32_t>() + layer.value;
  ops::assign_slots(*backend_, kCompute,
                    {.selection = selection,
                     .positions = store_->positions(),
                     .lanes = slots,
                     .frame = store_->frame(),
                     .step = store_->step(),
                     .addresses = addresses_.as<std::byte*>(),
                     .arrivals = arrivals_.as<int32_t>(),
                     .copies = copies_.as<ops::BlockCopy>(),
                     .copy_count = copy_count,
                     .counters = counters_.as<ops::SlotCounters>()});

  using Schedule = StepOptions::Schedule;
  const bool cached = store_->options().slots > 0;
  if (cached && options_.schedule == Schedule::kInLine) {
    ops::copy_blocks(*backend_, kCompute,
                     {.copies = copies_.as<ops::BlockCopy>(),
                      .count = copy_count,
                      .most = static_cast<int>(lanes) * width_,
                      .bytes = store_->frame().bytes});
  }
  const bool overlap = cached && options_.schedule == Schedule::kOverlap;
  ops::seat_attention(*backend_, kCompute,
                      {.q = q,
                       .positions = store_->positions(),
                       .selection = selection,
                       .addresses = addresses_.as<const std::byte*>(),
                       .copies = overlap ? copies_.as<ops::BlockCopy>() : nullptr,
                       .copy_count = copy_count,
                       .arrivals = arrivals_.as<int32_t>(),
                       .frame = store_->frame(),
                       .bias = traits_.bias,
                       .scale = config_.scale(),
                       .kv_heads = config_.kv_heads,
                       .out = out});
  return Status::Ok();
}

ops::SlotCounters StepAttention::ReadCounters() {
  backend_->Copy(shared_counters_.data(), counters_.data(), sizeof(ops::SlotCounters), kCompute);
  backend_->Synchronize(kCompute);
  return *shared_counters_.as<ops::SlotCounters>();
}

}  // namespace nosa::attention

#include "engine/seating.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "model/slot_plan.h"

namespace nosa::engine {
namespace {

// Why the host has to plan; empty: it need not.
std::string WhyPlanned(const DecodeOptions& options, const kv::KvStore& store, const ops::Backend& backend) {
  if (options.plan == DecodePlan::kPlanned) return "the host was asked to";
  if (options.plan == DecodePlan::kAuto && !backend.records_graphs())
    return fmt::format("{} records no steps", backend.name());
  if (store.has_cold_tier()) return fmt::format("KV goes to {}", store.DescribeTiers());
  if (options.seats <= 0) return "there are no seats";
  return "";
}

void SayPlanned(const DecodeOptions& options, const std::string& why) {
  // A bound that nothing is kept under is worth a word.
  LogMessage(options.kv_bytes ? LogLevel::kWarn : LogLevel::kDebug,
             fmt::format("decode steps are planned on the host: {}", why));
}

model::DecodeStepOptions StepOptions(const DecodeOptions& options, const std::string& selector) {
  model::DecodeStepOptions step;
  step.attention.selector = selector;
  step.seats = options.seats;
  step.max_tokens = options.max_tokens;
  return step;
}

model::StepMemory MemoryFor(const DecodeOptions& options, const ops::Backend& backend) {
  const uint64_t free = backend.Available(backend.compute_memory());
  return {free - std::min(free, options.reserve_bytes), options.kv_bytes};
}

}  // namespace

int MostSeats(const model::Model& model, const DecodeOptions& options, const std::string& selector,
              const ops::Backend& backend) {
  return model::MostSeats(model, StepOptions(options, selector), MemoryFor(options, backend), backend);
}

Result<std::unique_ptr<Seating>> Seating::Create(std::shared_ptr<const model::Model> model,
                                                 const DecodeOptions& options, const std::string& selector,
                                                 kv::KvStore* store, ops::Backend* backend) {
  std::string why = WhyPlanned(options, *store, *backend);
  if (!why.empty()) {
    SayPlanned(options, why);
    return std::unique_ptr<Seating>();
  }
  model::DecodeStepOptions step = StepOptions(options, selector);
  const Result<int> slots = model::ChooseSlots(*model, step, MemoryFor(options, *backend), *backend);
  if (slots.status().code() == StatusCode::kFailedPrecondition) {
    SayPlanned(options, std::string(slots.status().message()));
    return std::unique_ptr<Seating>();
  }
  NOSA_ASSIGN_OR_RETURN(step.slots, slots);
  std::unique_ptr<Seating> seating(new Seating(options, store));
  NOSA_ASSIGN_OR_RETURN(seating->step_, model::DecodeStep::Create(std::move(model), step, backend));
  seating->seats_.resize(static_cast<size_t>(options.seats));
  LogDebug("decode steps are planned on the device: {} seats, {} slots per layer and KV head", step.seats, step.slots);
  return seating;
}

bool Seating::Suits(const Sequence& sequence) const {
  return !sequence.request.record_decode && store_->max_tokens(sequence.kv) <= options_.max_tokens;
}

bool Seating::full() const { return std::find(seats_.begin(), seats_.end(), nullptr) == seats_.end(); }

void Seating::Sit(Sequence& sequence) {
  const auto free = std::find(seats_.begin(), seats_.end(), nullptr);
  NOSA_CHECK(free != seats_.end() && sequence.seat < 0, "no seat for request {}", sequence.id.value);
  sequence.seat = static_cast<int>(free - seats_.begin());
  *free = &sequence;
  NOSA_DCHECK(store_->length(sequence.kv) + 1 == static_cast<int>(sequence.tokens.size()), "{} tokens are cached of {}",
              store_->length(sequence.kv), sequence.tokens.size());
  const Request& request = sequence.request;
  const ops::DrawParams draw = request.needs_logits() ? ops::DrawParams() : request.sampling.draw();
  step_->Sit(sequence.seat, *store_, sequence.kv, {sequence.tokens.back(), draw});
}

void Seating::Leave(Sequence& sequence, bool keep) {
  step_->Leave(sequence.seat, *store_, sequence.kv, keep);
  seats_[static_cast<size_t>(sequence.seat)] = nullptr;
  sequence.seat = -1;
}

Status Seating::Step() {
  logits_read_ = false;
  NOSA_RETURN_IF_ERROR(step_->Run());
  step_->Wait();
  for (Sequence* sequence : seats_) {
    if (sequence == nullptr) continue;
    sequence->passes.Add(store_->length(sequence->kv), 1, false);
    store_->CountSteps(sequence->kv, 1);
  }
  return Status::Ok();
}

std::span<const float> Seating::Logits(const Sequence& sequence) {
  if (!logits_read_) {
    logits_ = step_->ReadLogits();
    logits_read_ = true;
    ++logit_reads_;
  }
  return {logits_.row<float>(sequence.seat), static_cast<size_t>(logits_.RowElements())};
}

Result<kv::SeatStore::SlotTable> Seating::ReadSlots(const Sequence& sequence) const {
  return step_->store().ReadSlots(sequence.seat);
}

SeatingStats Seating::stats() const {
  const kv::SeatOptions& seats = step_->store().options();
  SeatingStats stats;
  stats.seats = seats.seats;
  stats.slots = seats.slots;
  stats.device_bytes = kv::SeatStore::DeviceBytes(seats);
  stats.counters = step_->attention().ReadCounters();
  stats.logit_reads = logit_reads_;
  stats.bytes_fetched = stats.counters.missing * step_->store().frame().bytes;
  return stats;
}

}  // namespace nosa::engine

// The sequences whose answers come from decode steps planned on the device (model/step.h): who sits where.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/sequence.h"
#include "kv/store.h"
#include "model/step.h"

namespace nosa::engine {

// Who plans decode steps. Both read the same blocks and give the same tokens but for rounding: the device's products
// take all seats at once, so that the last bits of an answer depend on how many seats there are (never on who sits in
// them), the host's take row by row.
enum class DecodePlan : uint8_t {
  kAuto,    // the device, where the backend records steps and there are seats
  kStep,    // the device, where there are seats
  kPlanned  // the host
};

struct DecodeOptions {
  DecodePlan plan = DecodePlan::kAuto;
  int seats = 0;       // sequences that take a step together; others wait for a seat. 0: the host plans
  int max_tokens = 0;  // of a sequence in a seat; for longer ones the host plans
  // Device memory: a hard bound for cached blocks, and what is to be left for reading prompts.
  std::optional<uint64_t> kv_bytes;
  uint64_t reserve_bytes = 0;
};

// What the steps did.
struct SeatingStats {
  int seats = 0;              // 0: the host plans
  int slots = 0;              // per KV head, layer and seat
  uint64_t device_bytes = 0;  // for cached blocks
  ops::SlotCounters counters;
  uint64_t bytes_fetched = 0;
  int64_t logit_reads = 0;  // steps of which the host read the logits
};

// The most seats, at most options.seats, that fit `backend` now; 0: not one.
int MostSeats(const model::Model& model, const DecodeOptions& options, const std::string& selector,
              const ops::Backend& backend);

// One caller thread.
class Seating {
 public:
  // Null, with the reason in the log, when the host has to plan: the selector has no rule for a device, or blocks go to
  // a cold tier. kResourceExhausted says what would fit.
  static Result<std::unique_ptr<Seating>> Create(std::shared_ptr<const model::Model> model,
                                                 const DecodeOptions& options, const std::string& selector,
                                                 kv::KvStore* store, ops::Backend* backend);

  // Whether a sequence is one for a seat, be there a free one or not.
  bool Suits(const Sequence& sequence) const;
  bool full() const;
  // The last of its tokens is read next.
  void Sit(Sequence& sequence);
  // With `keep` its cache is as if the host had planned all steps; else it is to be closed.
  void Leave(Sequence& sequence, bool keep);

  // One step of everybody in a seat. Then each has its next token in its place: the one drawn for its request, or,
  // where the host draws (Request::needs_logits), the likeliest, which SetToken replaces.
  Status Step();
  TokenId token(const Sequence& sequence) const { return step_->tokens()[static_cast<size_t>(sequence.seat)]; }
  void SetToken(const Sequence& sequence, TokenId token) {
    step_->tokens()[static_cast<size_t>(sequence.seat)] = token;
  }
  // Of the last step, [vocab] f32 in shared memory; valid until the next. The first call of a step copies those of all
  // seats.
  std::span<const float> Logits(const Sequence& sequence);

  // What is in the sequence's slots; as SeatStore::ReadSlots.
  Result<kv::SeatStore::SlotTable> ReadSlots(const Sequence& sequence) const;

  SeatingStats stats() const;

 private:
  Seating(const DecodeOptions& options, kv::KvStore* store) : options_(options), store_(store) {}

  DecodeOptions options_;
  kv::KvStore* store_;
  std::unique_ptr<model::DecodeStep> step_;
  std::vector<Sequence*> seats_;  // null: empty
  bool logits_read_ = false;      // of the last step
  int64_t logit_reads_ = 0;
  ConstTensorView logits_;
};

}  // namespace nosa::engine

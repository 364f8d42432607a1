// Decode steps of a batch of seats, on the device from the last token to the next: recorded once, then repeated.
#pragma once

#include <memory>
#include <span>

#include "attention/step.h"
#include "kv/seat_store.h"
#include "model/model.h"
#include "ops/draw_tokens.h"

namespace nosa::model {

using StepOptions = attention::StepOptions;
using StepSchedule = attention::StepOptions::Schedule;

struct DecodeStepOptions {
  StepOptions attention;
  int seats = 0;
  int slots = 0;  // per lane and seat; 0: blocks are read from their pages
  int max_tokens = 0;
};

// How a sequence goes on in a seat.
struct SeatedTokens {
  TokenId next = 0;      // read by the first step
  ops::DrawParams draw;  // of those after it; the token at position p of the sequence is drawn with counter p
};

// For one caller thread. A step reads the token of every seat and writes the next one, drawn as the seat's sequence
// asks, in its place, and the logits; both can be read and replaced between steps.
class DecodeStep {
 public:
  // Fails as SeatStore::Create and StepAttention::Create.
  static Result<std::unique_ptr<DecodeStep>> Create(std::shared_ptr<const Model> model,
                                                    const DecodeStepOptions& options, ops::Backend* backend);
  // Device memory it takes, scratch of the backend included as far as it can be told.
  static uint64_t DeviceBytes(const Model& model, const DecodeStepOptions& options);

  kv::SeatStore& store() { return *store_; }
  attention::StepAttention& attention() { return *attention_; }
  // [seats], in shared memory. Of empty seats: any token of the vocabulary.
  std::span<TokenId> tokens() const { return {tokens_.as<TokenId>(), static_cast<size_t>(options_.seats)}; }

  // A sequence that a Runner has read takes an empty seat: its summaries are copied, its blocks stay where they are and
  // are its homes (KvStore::BeginSteps). Leave gives it back as if a Runner had brought it to where it is, unless it is
  // to be closed: with `keep` false nothing is copied. Both wait for the device, and take hold with the next Run.
  void Sit(int seat, kv::KvStore& kv, SeqId seq, const SeatedTokens& tokens);
  void Leave(int seat, kv::KvStore& kv, SeqId seq, bool keep);

  // Gives one step to the device and returns: the first one call by call, later ones as the recording, where the
  // backend records. kFailedPrecondition as SeatStore::CountStep, before anything is given.
  Status Run();
  void Wait() { backend_->Synchronize({}); }
  // Of the last step, [seats, vocab] f32 in shared memory. Waits.
  ConstTensorView ReadLogits();

 private:
  DecodeStep(std::shared_ptr<const Model> model, const DecodeStepOptions& options, ops::Backend* backend)
      : model_(std::move(model)), options_(options), backend_(backend), workspace_(backend) {}
  Status Calls();
  void SetDraw(int seat, const ops::DrawParams& draw);

  std::shared_ptr<const Model> model_;
  DecodeStepOptions options_;
  ops::Backend* backend_;
  Workspace workspace_;
  std::unique_ptr<kv::SeatStore> store_;
  std::unique_ptr<attention::StepAttention> attention_;
  Buffer tokens_, logits_, shared_logits_;
  Buffer draws_, host_draws_;  // [seats] DrawParams: what steps read, and in shared memory what the host has set
  bool draws_changed_ = false;
  std::unique_ptr<ops::Graph> graph_;
  int64_t steps_ = 0;
};

}  // namespace nosa::model

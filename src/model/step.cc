#include "model/step.h"

#include "ops/argmax.h"

namespace nosa::model {
namespace {

kv::SeatOptions SeatsOf(const Model& model, const DecodeStepOptions& options) {
  return {model.block_layout(), options.seats, options.slots, options.max_tokens};
}

uint64_t LogitBytes(const Model& model, const DecodeStepOptions& options) {
  return static_cast<uint64_t>(options.seats) * static_cast<uint64_t>(model.config().vocab_size) * sizeof(float);
}

}  // namespace

uint64_t DecodeStep::DeviceBytes(const Model& model, const DecodeStepOptions& options) {
  const schema::ModelConfig& c = model.config();
  const attention::AttentionConfig& a = model.attention_config();
  const uint64_t heads = static_cast<uint64_t>(2 * c.num_heads + 2 * c.num_kv_heads) * static_cast<uint64_t>(c.head_dim);
  const uint64_t row =
      2 * static_cast<uint64_t>(c.hidden_size) + heads + 5 * static_cast<uint64_t>(c.intermediate_size) / 2;
  const uint64_t windows = static_cast<uint64_t>(options.max_tokens) / static_cast<uint64_t>(a.kernel_stride) + 256;
  // Scratch: every head's logit with every window, and its softmax statistics.
  const uint64_t scratch = static_cast<uint64_t>(options.seats) * static_cast<uint64_t>(c.num_heads) * windows * 5;
  return kv::SeatStore::DeviceBytes(SeatsOf(model, options)) +
         attention::StepAttention::DeviceBytes(a, options.attention, SeatsOf(model, options)) +
         LogitBytes(model, options) + static_cast<uint64_t>(options.seats) * row * sizeof(float) + scratch +
         (uint64_t{64} << 20);
}

Result<std::unique_ptr<DecodeStep>> DecodeStep::Create(std::shared_ptr<const Model> model,
                                                       const DecodeStepOptions& options, ops::Backend* backend) {
  std::unique_ptr<DecodeStep> step(new DecodeStep(std::move(model), options, backend));
  const Model& m = *step->model_;
  NOSA_ASSIGN_OR_RETURN(step->store_, kv::SeatStore::Create(SeatsOf(m, options), backend));
  NOSA_ASSIGN_OR_RETURN(step->attention_, attention::StepAttention::Create(m.attention_config(), options.attention,
                                                                           step->store_.get(), backend));
  NOSA_ASSIGN_OR_RETURN(step->logits_, backend->Allocate(LogitBytes(m, options), backend->compute_memory()));
  NOSA_ASSIGN_OR_RETURN(step->shared_logits_, backend->Allocate(LogitBytes(m, options), backend->shared_memory()));
  NOSA_ASSIGN_OR_RETURN(step->tokens_, backend->Allocate(static_cast<size_t>(options.seats) * sizeof(TokenId),
                                                         backend->shared_memory()));
  return step;
}

Status DecodeStep::Calls() {
  const ForwardCall call = {backend_, attention_.get(), &workspace_, {.segments = {}, .positions = store_->positions(), .fixed_rows = true}};
  const TensorView logits =
      logits_.View(DType::kF32, {static_cast<int64_t>(options_.seats), model_->config().vocab_size});
  attention_->BeginStep();
  NOSA_RETURN_IF_ERROR(model_->Step(call, tokens(), logits));
  ops::argmax(*backend_, {}, {.logits = logits, .ids = tokens()});
  attention_->EndStep();
  return Status::Ok();
}

Status DecodeStep::Run() {
  if (!backend_->records_graphs() || steps_++ == 0) return Calls();
  if (graph_ == nullptr) {
    Wait();
    backend_->BeginGraph({});
    const Status recorded = Calls();
    NOSA_ASSIGN_OR_RETURN(graph_, backend_->EndGraph({}));
    NOSA_RETURN_IF_ERROR(recorded);
  }
  backend_->Run(*graph_, {});
  return Status::Ok();
}

ConstTensorView DecodeStep::ReadLogits() {
  backend_->Copy(shared_logits_.data(), logits_.data(), static_cast<size_t>(LogitBytes(*model_, options_)), {});
  Wait();
  return shared_logits_.View(DType::kF32, {static_cast<int64_t>(options_.seats), model_->config().vocab_size});
}

}  // namespace nosa::model

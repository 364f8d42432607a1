#include "model/step.h"

#include "attention/summaries.h"
#include "base/check.h"

namespace nosa::model {
namespace {

kv::SeatOptions SeatsOf(const Model& model, const DecodeStepOptions& options) {
  return {model.block_layout(), options.seats, options.slots, options.max_tokens};
}

size_t DrawBytes(const DecodeStepOptions& options) {
  return static_cast<size_t>(options.seats) * sizeof(ops::DrawParams);
}

uint64_t LogitBytes(const Model& model, const DecodeStepOptions& options) {
  return static_cast<uint64_t>(options.seats) * static_cast<uint64_t>(model.config().vocab_size) * sizeof(float);
}

}  // namespace

uint64_t DecodeStep::DeviceBytes(const Model& model, const DecodeStepOptions& options) {
  const schema::ModelConfig& c = model.config();
  const attention::AttentionConfig& a = model.attention_config();
  const uint64_t heads =
      static_cast<uint64_t>(2 * c.num_heads + 2 * c.num_kv_heads) * static_cast<uint64_t>(c.head_dim);
  const uint64_t row =
      2 * static_cast<uint64_t>(c.hidden_size) + heads + 5 * static_cast<uint64_t>(c.intermediate_size) / 2;
  const uint64_t scratch =
      attention::StepAttention::ScratchBytes(a, options.attention, SeatsOf(model, options)) / 4 * 5;
  return kv::SeatStore::DeviceBytes(SeatsOf(model, options)) +
         attention::StepAttention::DeviceBytes(a, options.attention, SeatsOf(model, options)) +
         LogitBytes(model, options) + DrawBytes(options) + static_cast<uint64_t>(options.seats) * row * sizeof(float) +
         scratch + (uint64_t{64} << 20);
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
  NOSA_ASSIGN_OR_RETURN(
      step->tokens_, backend->Allocate(static_cast<size_t>(options.seats) * sizeof(TokenId), backend->shared_memory()));
  NOSA_ASSIGN_OR_RETURN(step->draws_, backend->Allocate(DrawBytes(options), backend->compute_memory()));
  NOSA_ASSIGN_OR_RETURN(step->host_draws_, backend->Allocate(DrawBytes(options), backend->shared_memory()));
  for (int seat = 0; seat < options.seats; ++seat) step->SetDraw(seat, {});
  return step;
}

Status DecodeStep::Calls() {
  const ForwardCall call = {
      backend_, attention_.get(), &workspace_, {.segments = {}, .positions = store_->positions(), .fixed_rows = true}};
  const TensorView logits =
      logits_.View(DType::kF32, {static_cast<int64_t>(options_.seats), model_->config().vocab_size});
  attention_->BeginStep();
  NOSA_RETURN_IF_ERROR(model_->Step(call, tokens(), logits));
  // A seat's position is that of the token it has just read.
  ops::draw_tokens(*backend_, {},
                   {.logits = logits,
                    .params = {draws_.as<ops::DrawParams>(), static_cast<size_t>(options_.seats)},
                    .positions = store_->positions(),
                    .ahead = 1,
                    .ids = tokens()});
  attention_->EndStep();
  return Status::Ok();
}

void DecodeStep::SetDraw(int seat, const ops::DrawParams& draw) {
  host_draws_.as<ops::DrawParams>()[seat] = draw;
  draws_changed_ = true;
}

void DecodeStep::Sit(int seat, kv::KvStore& kv, SeqId seq, const SeatedTokens& seated) {
  const attention::AttentionConfig& config = model_->attention_config();
  const int length = kv.length(seq), blocks = kv.layout().Blocks(kv.max_tokens(seq));
  NOSA_CHECK(kv.max_tokens(seq) <= options_.max_tokens, "a sequence of {} tokens in a seat of {}", kv.max_tokens(seq),
             options_.max_tokens);
  attention::CopySummaries(config, length, attention::SummaryLayout(config, kv.max_tokens(seq)), kv.side(seq),
                           attention_->summary_layout(), attention_->summaries(seat), *backend_);
  kv.BeginSteps(seq);
  for (int lane = 0; lane < kv.layout().lanes(); ++lane) {
    for (int block = 0; block < blocks; ++block)
      store_->SetHome(seat, lane, BlockId(block), kv.Home(seq, lane, BlockId(block)));
  }
  store_->Seat(seat, length);
  tokens()[static_cast<size_t>(seat)] = seated.next;
  SetDraw(seat, seated.draw);
}

void DecodeStep::Leave(int seat, kv::KvStore& kv, SeqId seq, bool keep) {
  Wait();
  if (keep) {
    const attention::AttentionConfig& config = model_->attention_config();
    attention::CopySummaries(config, kv.length(seq), attention_->summary_layout(), attention_->summaries(seat),
                             attention::SummaryLayout(config, kv.max_tokens(seq)), kv.side(seq), *backend_);
    kv.EndSteps(seq);
  }
  store_->Leave(seat);
  SetDraw(seat, {});  // costs the steps to come the least
}

Status DecodeStep::Run() {
  if (store_->changed()) store_->Flush();
  if (draws_changed_) backend_->Copy(draws_.data(), host_draws_.data(), DrawBytes(options_), {});
  draws_changed_ = false;
  NOSA_RETURN_IF_ERROR(store_->CountStep());
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

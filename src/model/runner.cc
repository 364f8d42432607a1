#include "model/runner.h"

namespace nosa::model {

Result<std::unique_ptr<Runner>> Runner::Create(std::shared_ptr<const Model> model, const AttentionOptions& options,
                                               kv::KvStore* store, ops::Backend* backend) {
  std::unique_ptr<Runner> runner(new Runner(std::move(model), store, backend));
  NOSA_ASSIGN_OR_RETURN(runner->attention_, attention::AttentionRunner::Create(runner->model_->attention_config(),
                                                                               options, store, backend));
  return runner;
}

Status Runner::Forward(std::span<const PassRows> rows, bool prefill, TensorView logits, SelectionRecord* record) {
  std::vector<attention::Segment> segments;
  std::vector<int32_t> positions;
  std::vector<TokenId> tokens;
  for (const PassRows& part : rows) {
    const int first = store_->length(part.seq), count = static_cast<int>(part.tokens.size());
    NOSA_RETURN_IF_ERROR(store_->BeginAppend(part.seq, count));
    segments.push_back({part.seq, static_cast<int32_t>(positions.size()), count, first});
    for (int i = 0; i < count; ++i) positions.push_back(first + i);
    tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
  }
  store_->NextStep();
  const ForwardCall call = {backend_, attention_.get(), &workspace_, {segments, positions, prefill, record}};
  NOSA_RETURN_IF_ERROR(model_->Forward(call, tokens, logits));
  for (const PassRows& part : rows) store_->CommitAppend(part.seq);
  if (!logits.empty()) backend_->Synchronize({});
  return Status::Ok();
}

Status Runner::Restore(SeqId seq) {
  attention_->ForgetTrace(seq);
  return attention::RestoreRunningSums(model_->attention_config(), *store_, seq, *backend_);
}

uint64_t Runner::ChunkBytes(int first, int end) const {
  return attention::SummaryPiece(model_->attention_config(), first, end).bytes();
}

void Runner::SaveChunk(SeqId seq, int first, int end, MutableBytes bytes) {
  const attention::AttentionConfig& config = model_->attention_config();
  summaries_.Save(attention::SummaryPiece(config, first, end),
                  attention::SummaryLayout(config, store_->max_tokens(seq)), store_->side(seq), bytes);
}

void Runner::LoadChunk(SeqId seq, int first, int end, ConstBytes bytes) {
  const attention::AttentionConfig& config = model_->attention_config();
  summaries_.Load(attention::SummaryPiece(config, first, end),
                  attention::SummaryLayout(config, store_->max_tokens(seq)), bytes, store_->side(seq));
}

}  // namespace nosa::model

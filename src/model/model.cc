#include "model/model.h"

#include "attention/summaries.h"
#include "base/hash.h"
#include "model/attention_config.h"
#include "model/random_config.h"
#include "schema/tensors.h"

namespace nosa::model {
namespace {

constexpr std::string_view kRandomPrefix = "random:";

}  // namespace

Result<std::shared_ptr<const Model>> Model::Make(schema::ModelConfig config, std::shared_ptr<WeightSource> weights,
                                                 const LoadOptions& options) {
  if (options.sparse.topk) config.sparse.topk = *options.sparse.topk;
  if (options.sparse.query_topk) config.sparse.query_topk = *options.sparse.query_topk;
  NOSA_RETURN_IF_ERROR(config.sparse.Validate());
  std::shared_ptr<Model> model(new Model());
  model->dtype_ = options.dtype.value_or(config.dtype);
  if (model->dtype_ != DType::kF32 && model->dtype_ != DType::kBF16) {
    return InvalidArgument("models compute in f32 or bf16, asked for {}", DTypeName(model->dtype_));
  }
  model->attention_ = AttentionConfigOf(config, model->dtype_);
  model->config_ = std::move(config);
  model->weights_ = std::move(weights);
  NOSA_RETURN_IF_ERROR(model->weights_->Reserve(schema::ExpectedTensors(model->config_), model->dtype_));
  NOSA_ASSIGN_OR_RETURN(model->decoder_, MakeDecoder(model->config_, model->weights_, model->dtype_));
  const uint64_t words[] = {model->weights_->fingerprint(), static_cast<uint64_t>(model->dtype_),
                            static_cast<uint64_t>(model->attention_.block_size)};
  model->binding_ = Hash64(std::as_bytes(std::span(words)));
  return std::shared_ptr<const Model>(std::move(model));
}

Result<std::shared_ptr<const Model>> Model::Load(const std::filesystem::path& directory, const LoadOptions& options) {
  NOSA_ASSIGN_OR_RETURN(schema::ModelConfig config, schema::ReadModelConfig(directory));
  NOSA_ASSIGN_OR_RETURN(const std::shared_ptr<const io::Safetensors> checkpoint,
                        io::Safetensors::OpenDirectory(directory));
  NOSA_RETURN_IF_ERROR(schema::ValidateTensors(*checkpoint, &config));
  return Make(std::move(config), MakeCheckpointSource(checkpoint, options.backend), options);
}

Result<std::shared_ptr<const Model>> Model::Random(std::string_view shape, const LoadOptions& options) {
  NOSA_ASSIGN_OR_RETURN(schema::ModelConfig config, RandomConfig(shape));
  std::shared_ptr<WeightSource> weights = MakeRandomSource(config, 1, options.backend);
  return Make(std::move(config), std::move(weights), options);
}

Result<std::shared_ptr<const Model>> Model::Open(const std::string& name, const LoadOptions& options) {
  if (name.starts_with(kRandomPrefix)) return Random(std::string_view(name).substr(kRandomPrefix.size()), options);
  return Load(name, options);
}

kv::BlockLayout Model::block_layout() const {
  return {.layers = config_.num_layers,
          .kv_heads = config_.num_kv_heads,
          .block_size = attention_.block_size,
          .k_dim = config_.head_dim,
          .v_dim = config_.head_dim,
          .dtype = dtype_,
          .has_importance = config_.has_importance};
}

kv::SequenceNeeds Model::SequenceNeeds(int max_tokens) const {
  return {max_tokens, attention::SummaryLayout(attention_, max_tokens).bytes()};
}

int Model::MinSlotsPerLane() const {
  // RestoreRunningSums reads up to 2 ks tokens, which need not start on a block.
  return std::max(4, static_cast<int>(CeilDiv(2 * attention_.kernel_size, attention_.block_size)) + 2);
}

Status Model::Step(const ForwardCall& call, std::span<const TokenId> tokens, TensorView logits) const {
  const TensorView x = call.workspace->Get(kHiddenSlot, {static_cast<int64_t>(tokens.size()), config_.hidden_size});
  decoder_->Embed(call, tokens, x);
  NOSA_RETURN_IF_ERROR(decoder_->RunLayers(call, 0, decoder_->layers(), x));
  decoder_->Head(call, x, logits);
  return Status::Ok();
}

Status Model::Forward(const ForwardCall& call, std::span<const TokenId> tokens, TensorView logits) const {
  const int64_t rows = static_cast<int64_t>(tokens.size());
  const TensorView x = call.workspace->Get(kHiddenSlot, {rows, config_.hidden_size});
  decoder_->Embed(call, tokens, x);
  NOSA_RETURN_IF_ERROR(decoder_->RunLayers(call, 0, decoder_->layers(), x));
  if (logits.empty()) return Status::Ok();
  const bool in_place = HostAddressable(call.backend->compute_memory());
  const TensorView y = in_place ? logits : call.workspace->Get(kLogitsSlot, logits.shape());
  decoder_->Head(call, x.Rows(rows - logits.rows(), logits.rows()), y);
  if (!in_place) {
    NOSA_CHECK(logits.packed(), "logits {} are to be copied into rows {} apart", logits.shape().ToString(),
               logits.row_stride());
    call.backend->Copy(logits.bytes(), y.bytes(), static_cast<size_t>(y.shape().elements()) * sizeof(float), {});
  }
  return Status::Ok();
}

}  // namespace nosa::model

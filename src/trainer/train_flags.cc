#include "trainer/train_flags.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/hash.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "schema/random_checkpoint.h"
#include "schema/tensors.h"
#include "tasks/task.h"
#include "train/method.h"
#include "train/task_source.h"

namespace nosa::trainer {
namespace {

namespace fs = std::filesystem;

// What the end of a document is called in tokenizers that people use.
constexpr std::string_view kEndTokens[] = {"</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|eos|>"};
// Files of a model's directory that belong to its tokenizer.
constexpr std::string_view kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                                "chat_template.jinja"};

// "corpus:0.6" as its name and share; no share: 0.
struct Named {
  std::string what;
  double share = 0;
};
Result<Named> ParseShare(std::string_view flag, const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return Named{text, 0};
  double share = 0;
  const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, share);
  if (error != std::errc() || stop != end || !(share > 0) || share > 1e6)
    return InvalidArgument("{}: expected NAME:SHARE with a positive share, found \"{}\"", flag, text);
  return Named{text.substr(0, colon), share};
}

bool NeedsImportance(const TrainFlags& flags, const schema::ModelConfig& config) {
  return std::any_of(flags.plan.stages.begin(), flags.plan.stages.end(), [&](const train::Stage& stage) {
    const auto method = train::MakeMethod(stage.attention, config);
    return method.ok() && method->needs_importance();
  });
}

Status SetSparse(const TrainFlags& flags, schema::ModelConfig* config) {
  schema::SparseConfig& sparse = config->sparse;
  const auto set = [](const std::optional<int>& from, int* to) { *to = from.value_or(*to); };
  set(flags.topk, &sparse.topk);
  set(flags.query_topk, &sparse.query_topk);
  set(flags.init_blocks, &sparse.init_blocks);
  set(flags.window_size, &sparse.window_size);
  set(flags.block_size, &sparse.block_size);
  set(flags.kernel_size, &sparse.kernel_size);
  set(flags.kernel_stride, &sparse.kernel_stride);
  config->sparse_config_given = true;
  return sparse.Validate();
}

Result<schema::ModelConfig> ConfigOfSizes(const TrainFlags& flags, const text::Tokenizer& tokenizer) {
  if (!flags.layers || !flags.hidden || !flags.heads) {
    return InvalidArgument(
        "expected --init DIR, --config FILE, or the sizes --layers, --hidden and --heads of a model that begins from "
        "nothing");
  }
  schema::ModelConfig config;
  config.family = "llama";
  config.architecture = "SparseLlamaForCausalLM";
  config.num_layers = *flags.layers;
  config.hidden_size = *flags.hidden;
  config.num_heads = *flags.heads;
  config.num_kv_heads = flags.kv_heads.value_or(*flags.heads);
  config.head_dim = flags.head_dim.value_or(*flags.hidden / *flags.heads);
  // SwiGLU's usual 8/3 of the hidden size, a multiple of 64.
  config.intermediate_size = flags.intermediate.value_or((*flags.hidden * 8 / 3 + 63) / 64 * 64);
  config.vocab_size = tokenizer.vocab_size();
  config.tie_embeddings = !flags.untied;
  config.rope.theta = flags.rope_theta;
  config.max_position = 1;
  return config;
}

TokenId EndToken(const TrainFlags& flags, const text::Tokenizer& tokenizer) {
  if (!flags.end_token.empty()) return tokenizer.IdOf(flags.end_token);
  for (const std::string_view name : kEndTokens) {
    if (const TokenId id = tokenizer.IdOf(name); id >= 0) return id;
  }
  return -1;
}

void AddModelFlags(Command& command, TrainFlags* flags) {
  command.Text("--init", &flags->init, "begin with this model's weights, dense or sparse", "DIR");
  command.Text("--config", &flags->config, "begin from nothing, with the sizes of this config.json", "FILE");
  command.Text("--tokenizer", &flags->tokenizer, "tokenizer.json or its directory (default: that of --init)", "PATH");
  command.Text("--end-token", &flags->end_token, "put behind every document (default: </s> or another usual name)");
  command.Int("--layers", &flags->layers, 1, "sizes of a model that begins from nothing");
  command.Int("--hidden", &flags->hidden, 1, "hidden size");
  command.Int("--heads", &flags->heads, 1, "query heads");
  command.Int("--kv-heads", &flags->kv_heads, 1, "KV heads (default: as many)");
  command.Int("--head-dim", &flags->head_dim, 1, "size of a head (default: hidden / heads)");
  command.Int("--intermediate", &flags->intermediate, 1, "inner size of the MLP (default: 8/3 of the hidden size)");
  command.Number("--rope-theta", &flags->rope_theta, "base of the rotation's wavelengths");
  command.Switch("--untied", &flags->untied, "a head of its own instead of the embeddings");
  command.Int("--topk", &flags->topk, 1, "blocks each query reads (default: the model's, as for all of these)");
  command.Int("--query-topk", &flags->query_topk, 0, "of these, chosen by the query");
  command.Int("--window-size", &flags->window_size, 1, "tokens before a query that are always read");
  command.Int("--init-blocks", &flags->init_blocks, 0, "first blocks that are always read");
  command.Int("--block-size", &flags->block_size, 1, "tokens of a block");
  command.Int("--kernel-size", &flags->kernel_size, 1, "tokens that are pooled for scoring");
  command.Int("--kernel-stride", &flags->kernel_stride, 1, "tokens from one pool to the next");
}

void AddDataFlags(Command& command, TrainFlags* flags) {
  command.Texts("--data", &flags->data, "text to learn from: a file or a folder, perhaps with its share",
                "PATH[:SHARE]");
  command.Texts("--task", &flags->tasks, "a synthetic task hidden in the first --data, and its share: facts:0.35",
                "NAME[:SHARE]");
  command.Int("--task-questions", &flags->task_questions, 1, "questions about one text of a task, at most");
  command.Int("--task-parts", &flags->task_parts, 1,
              "texts of a task in one sequence, at most: halves, quarters and so on are drawn as often as the whole",
              64);
  command.Choice("--task-loss", &flags->task_loss, {"all", "answers"}, "what is learnt of a task's sequences");
  command.Number("--answer-weight", &flags->answer_weight, "what a token of a task's answer counts; others count 1");
  command.Number("--held-out", &flags->held_out, "share of the text that is not learnt, to judge by");
  command.Text("--token-cache", &flags->token_cache, "where tokens of --data are kept (default: OUT/training-state)",
               "DIR");
}

void AddRunFlags(Command& command, TrainFlags* flags) {
  train::TrainPlan* plan = &flags->plan;
  command.Texts("--stage", &flags->stages,
                "one after the other: tokens=200M,length=2048,attention=full|nosa|infllm2|dma[,batch=N][,rate=X]",
                "KEY=VALUE,...");
  command.Int("--batch", &plan->batch, 1, "sequences of a step");
  command.Int("--micro-batch", &plan->micro_batch, 0, "of these, at once in memory; 0: all");
  command.Number("--rate", &plan->rate, "highest learning rate");
  command.Number("--last-rate", &plan->last_rate, "of it, where the cosine ends");
  command.Number("--warmup", &plan->warmup, "share of the steps in which the rate rises");
  command.Number("--delta-rate", &plan->delta_rate, "rate of delta, in units of --rate");
  command.Number("--gain-rate", &plan->gain_rate, "rate of A, in units of --rate");
  command.Number("--weight-decay", &plan->weight_decay, "decoupled; of matrices, not of norms, A and delta");
  command.Number("--beta2", &plan->beta2, "AdamW's second moment");
  command.Number("--clip", &plan->clip, "norm of the gradient at most; 0: no bound");
  command.Number("--init-scale", &plan->init_scale, "spread of weights that begin from nothing");
  command.Number("--delta-scale", &plan->delta_scale, "and of delta, in a model that gets its importance");
  command.Choice("--dtype", &flags->dtype, {"f32", "bf16"}, "type of matrix products; weights are learnt in f32");
  command.Choice("--out-dtype", &flags->out_dtype, {"auto", "f32", "bf16"}, "type of the saved weights; auto: --dtype");
  command.Switch("--recompute", &plan->recompute, "keep fewer activations, and compute them twice");
  command.Seed("--seed", &plan->seed, "of first weights and of the order of the data");
  command.Int("--save-every", &plan->save_every, 0, "steps from checkpoint to checkpoint; 0: only at the end");
  command.Int("--eval-every", &plan->eval_every, 0, "steps from evaluation to evaluation; 0: only at the end");
  command.Int("--eval-sequences", &plan->eval_sequences, 1, "sequences of each source to judge by");
  command.Switch("--resume", &plan->resume, "go on with the run that --out holds");
}

}  // namespace

void AddTrainFlags(Command& command, TrainFlags* flags) {
  command.Text("--out", &flags->out, "where the model goes", "DIR");
  command.Required("--out");
  AddDataFlags(command, flags);
  AddModelFlags(command, flags);
  AddRunFlags(command, flags);
  apps::AddCommonFlags(command, &flags->common, {.model = false, .attention = false, .kv = false});
}

Status CompletePlan(TrainFlags* flags) {
  flags->plan.out = flags->out;
  NOSA_ASSIGN_OR_RETURN(flags->plan.dtype, ParseDType(flags->dtype));
  NOSA_ASSIGN_OR_RETURN(flags->plan.out_dtype,
                        ParseDType(flags->out_dtype == "auto" ? flags->dtype : flags->out_dtype));
  for (const std::string& text : flags->stages) {
    Result<train::Stage> stage = train::ParseStage(text);
    if (!stage.ok()) return stage.status().WithContext("--stage");
    flags->plan.stages.push_back(std::move(stage).value());
  }
  return Status::Ok();
}

Status CheckTrainFlags(const TrainFlags& flags) {
  NOSA_RETURN_IF_ERROR(apps::CheckCommonFlags(flags.common));
  NOSA_RETURN_IF_ERROR(flags.plan.Validate());
  if (flags.data.empty()) return InvalidArgument("expected --data: a task's questions, too, are hidden in text");
  if (flags.init.empty() && flags.tokenizer.empty())
    return InvalidArgument("expected --tokenizer, which a model that begins from nothing needs, or --init");
  if (!flags.init.empty() && (!flags.config.empty() || flags.layers || flags.hidden || flags.heads))
    return InvalidArgument("expected --init, --config or sizes, found two of them");
  if (!(flags.held_out >= 0 && flags.held_out < 1))
    return InvalidArgument("--held-out: expected a share from 0 to below 1, found {}", flags.held_out);
  if (!(flags.answer_weight > 0 && flags.answer_weight <= 1e6))
    return InvalidArgument("--answer-weight: expected a positive number, found {}", flags.answer_weight);
  return Status::Ok();
}

Result<LoadedTokenizer> LoadTokenizer(const TrainFlags& flags) {
  const fs::path given = flags.tokenizer.empty() ? flags.init : flags.tokenizer;
  const bool directory = fs::is_directory(given);
  const fs::path file = directory ? given / "tokenizer.json" : given;
  LoadedTokenizer loaded;
  NOSA_ASSIGN_OR_RETURN(loaded.tokenizer, text::Tokenizer::FromFile(file));
  NOSA_ASSIGN_OR_RETURN(const std::string text, io::ReadTextFile(file));
  loaded.fingerprint = Hash64(AsBytes(std::span(text.data(), text.size())));
  for (const std::string_view name : kTokenizerFiles) {
    const fs::path beside = file.parent_path() / name;
    if (beside == file || fs::exists(beside)) loaded.files.push_back(beside);
  }
  if (file.filename() != kTokenizerFiles[0]) loaded.files.push_back(file);
  return loaded;
}

Result<train::Beginning> MakeBeginning(const TrainFlags& flags, const text::Tokenizer& tokenizer) {
  train::Beginning beginning;
  schema::ModelConfig& config = beginning.config;
  if (!flags.init.empty()) {
    beginning.init = flags.init;
    NOSA_ASSIGN_OR_RETURN(config, schema::ReadModelConfig(beginning.init));
    NOSA_ASSIGN_OR_RETURN(beginning.other, io::ReadJsonFile(beginning.init / "config.json"));
    NOSA_ASSIGN_OR_RETURN(const auto checkpoint, io::Safetensors::OpenDirectory(beginning.init));
    NOSA_RETURN_IF_ERROR(schema::ValidateTensors(*checkpoint, &config));
  } else if (!flags.config.empty()) {
    NOSA_ASSIGN_OR_RETURN(beginning.other, io::ReadJsonFile(flags.config));
    NOSA_ASSIGN_OR_RETURN(config, schema::ParseModelConfig(beginning.other, flags.config));
  } else {
    NOSA_ASSIGN_OR_RETURN(config, ConfigOfSizes(flags, tokenizer));
  }
  if (config.vocab_size < tokenizer.vocab_size()) {
    return InvalidArgument("the tokenizer has {} tokens, the model's vocabulary {}", tokenizer.vocab_size(),
                           config.vocab_size);
  }
  NOSA_RETURN_IF_ERROR(SetSparse(flags, &config));
  if (NeedsImportance(flags, config)) {
    config.has_importance = true;
    config.architecture = "SparseLlamaForCausalLM";
  }
  if (config.eos_tokens.empty() || !flags.end_token.empty()) {
    const TokenId end = EndToken(flags, tokenizer);
    if (!flags.end_token.empty() && end < 0)
      return InvalidArgument("--end-token: \"{}\" is no token of the tokenizer", flags.end_token);
    if (end >= 0) config.eos_tokens = {end};
  }
  for (const train::Stage& stage : flags.plan.stages)
    config.max_position = std::max<int64_t>(config.max_position, stage.length);
  // What the engine would refuse to load is refused before it is learnt.
  const Status readable = schema::ParseModelConfig(schema::ConfigToJson(config), "the model's config").status();
  if (!readable.ok()) return readable;
  return beginning;
}

Result<train::Mixture> MakeMixture(const TrainFlags& flags, const LoadedTokenizer& tokenizer,
                                   const schema::ModelConfig& config, int threads,
                                   const std::function<void(int64_t, int64_t)>& progress) {
  std::vector<Named> data, tasks;
  double given = 0;
  int without = 0;
  const auto parse = [&](std::string_view flag, const std::vector<std::string>& texts, std::vector<Named>* to) {
    for (const std::string& text : texts) {
      NOSA_ASSIGN_OR_RETURN(Named named, ParseShare(flag, text));
      given += named.share;
      without += named.share == 0 ? 1 : 0;
      to->push_back(std::move(named));
    }
    return Status::Ok();
  };
  NOSA_RETURN_IF_ERROR(parse("--data", flags.data, &data));
  NOSA_RETURN_IF_ERROR(parse("--task", flags.tasks, &tasks));
  // Those without a share have what the others leave of 1, in equal parts; nothing left: text alone to hide tasks in.
  const double rest = without > 0 ? std::max(0.0, 1 - given) / without : 0;
  const uint64_t seed = flags.plan.seed;
  const TokenId end = config.eos_tokens.empty() ? -1 : config.eos_tokens.front();
  std::vector<train::Share> shares;
  std::shared_ptr<const train::TokenText> first;
  for (const Named& source : data) {
    train::TextOptions options;
    options.sources = {source.what};
    options.held_out = flags.held_out;
    options.seed = seed;
    options.threads = threads;
    options.cache = flags.token_cache.empty() ? fs::path(flags.out) / "training-state" : fs::path(flags.token_cache);
    options.progress = progress;
    NOSA_ASSIGN_OR_RETURN(train::TokenText text,
                          train::TokenizeText(*tokenizer.tokenizer, tokenizer.fingerprint, end, options));
    auto shared = std::make_shared<const train::TokenText>(std::move(text));
    if (first == nullptr) first = shared;
    const double share = source.share > 0 ? source.share : rest;
    if (share > 0) shares.push_back({train::MakeTextSource(shared, source.what, seed), share});
  }
  uint64_t number = 0;
  for (const Named& task : tasks) {
    train::TaskOptions options;
    options.name = task.what;
    options.seed = seed + ++number;
    options.questions = flags.task_questions;
    options.parts = flags.task_parts;
    const float others = flags.task_loss == "answers" ? 0.0f : 1.0f;
    options.weights = {.document = others, .question = others, .answer = static_cast<float>(flags.answer_weight)};
    NOSA_ASSIGN_OR_RETURN(auto source, train::MakeTaskSource(tokenizer.tokenizer, first, options));
    const double share = task.share > 0 ? task.share : rest;
    if (share <= 0) return InvalidArgument("--task {} has no share, and the others leave none", task.what);
    shares.push_back({std::move(source), share});
  }
  return train::Mixture(std::move(shares), seed);
}

}  // namespace nosa::trainer

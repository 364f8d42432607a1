// What `nosa train` was told, and what it means: a model to begin with, sequences to learn from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/common_flags.h"
#include "train/text_source.h"
#include "train/trainer.h"

namespace nosa::trainer {

using apps::Command;
using apps::CommonFlags;

struct TrainFlags {
  train::TrainPlan plan;  // complete after CompletePlan
  std::vector<std::string> stages;
  CommonFlags common;  // --threads, --backend, --gpu-memory, --json, --quiet
  std::string out, init, config, tokenizer, token_cache, end_token;
  std::optional<int> layers, hidden, heads, kv_heads, head_dim, intermediate;
  double rope_theta = 10000;
  bool untied = false;
  std::optional<int> topk, query_topk, init_blocks, window_size, block_size, kernel_size, kernel_stride;
  std::vector<std::string> data, tasks;
  int task_questions = 8, task_parts = 1;
  std::string task_loss = "all";
  double answer_weight = 1;
  std::string dtype = "f32", out_dtype = "auto";
  double held_out = 0.01;
};

// The table of flags.
void AddTrainFlags(Command& command, TrainFlags* flags);
// Sets what of the plan is given as text.
Status CompletePlan(TrainFlags* flags);
// What flags alone can tell.
Status CheckTrainFlags(const TrainFlags& flags);

// The tokenizer, and its files, which the model's directory gets too.
struct LoadedTokenizer {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::vector<std::filesystem::path> files;
  uint64_t fingerprint = 0;
};
// Of --tokenizer, else of --init. Fails as Tokenizer::FromFile.
Result<LoadedTokenizer> LoadTokenizer(const TrainFlags& flags);
// Of --init, --config or sizes, with the sparse settings of flags. kInvalidArgument in a sentence: sizes that are
// missing or do not fit together, a vocabulary smaller than the tokenizer's.
Result<train::Beginning> MakeBeginning(const TrainFlags& flags, const text::Tokenizer& tokenizer);
// Of --data and --task, each "WHAT[:SHARE]"; `progress` as TextOptions::progress.
Result<train::Mixture> MakeMixture(const TrainFlags& flags, const LoadedTokenizer& tokenizer,
                                   const schema::ModelConfig& config, int threads,
                                   const std::function<void(int64_t, int64_t)>& progress);

}  // namespace nosa::trainer

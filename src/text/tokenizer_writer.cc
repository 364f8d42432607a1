// Writes what bpe_trainer.h has trained, as files that tokenizers are read from.
#include <array>
#include <filesystem>
#include <span>

#include "io/file.h"
#include "text/bpe_trainer.h"

namespace nosa::text {
namespace {

using Json = io::OrderedJson;

Json AddedTokensJson(const std::vector<std::string>& tokens) {
  Json list = Json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    list.push_back({{"id", id},
                    {"content", tokens[id]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}});
  }
  return list;
}

Json ModelJson(const LearnedTokens& learned) {
  Json model = {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"ignore_merges", false}};
  // Appended to the object as it is stored: looking each key up first would cost the square of the vocabulary.
  Json::object_t vocab;
  for (size_t id = 0; id < learned.names.size(); ++id) vocab.emplace_back(learned.names[id], id);
  model["vocab"] = std::move(vocab);
  Json merges = Json::array();
  for (const LearnedMerge& merge : learned.merges) {
    merges.push_back(learned.names[static_cast<size_t>(merge.left)] + " " +
                     learned.names[static_cast<size_t>(merge.right)]);
  }
  model["merges"] = std::move(merges);
  return model;
}

Status WriteText(const std::filesystem::path& file, const std::string& text) {
  return io::WriteFileAtomically(file, AsBytes(std::span<const char>(text)));
}

}  // namespace

std::string TokenizerJson(const TrainedBpe& tokenizer) {
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = AddedTokensJson(tokenizer.special_tokens);
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = tokenizer.pre_tokenizer;
  json["post_processor"] = nullptr;
  json["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  json["model"] = ModelJson(tokenizer.learned);
  return io::DumpJson(json) + "\n";
}

Status WriteTokenizerJson(const TrainedBpe& tokenizer, const std::filesystem::path& file) {
  return WriteText(file, TokenizerJson(tokenizer));
}

Status WriteTokenizerConfig(const TrainedBpe& tokenizer, const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "tokenizer_config.json";
  Json config = Json::object();
  std::error_code error;
  if (std::filesystem::exists(file, error)) {
    NOSA_ASSIGN_OR_RETURN(const std::string text, io::ReadTextFile(file));
    NOSA_ASSIGN_OR_RETURN(config, io::ParseOrderedJson(text, file.string()));
    if (!config.is_object()) return InvalidArgument("{} holds no JSON object", file.string());
  }
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  constexpr std::array<const char*, 3> kRoles = {"bos_token", "eos_token", "pad_token"};
  for (size_t i = 0; i < kRoles.size(); ++i) {
    config.erase(kRoles[i]);
    if (i < tokenizer.special_tokens.size()) config[kRoles[i]] = tokenizer.special_tokens[i];
  }
  return WriteText(file, io::DumpJson(config) + "\n");
}

}  // namespace nosa::text

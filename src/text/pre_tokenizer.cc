#include "text/pre_tokenizer.h"

#include <iterator>

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/pre_tokenizer_stages.h"

namespace nosa::text {

Result<PreTokenizer> PreTokenizer::FromJson(const io::Json& config) {
  PreTokenizer out;
  if (!config.is_null()) NOSA_RETURN_IF_ERROR(out.Add(config, "pre_tokenizer"));
  return out;
}

Status PreTokenizer::Add(const io::Json& config, std::string_view field) {
  NOSA_ASSIGN_OR_RETURN(const std::string type, TypeOf(config, field));
  if (type == "Sequence") {
    NOSA_ASSIGN_OR_RETURN(const io::Json* items, ArrayField(config, "pretokenizers", field));
    for (size_t i = 0; i < items->size(); ++i)
      NOSA_RETURN_IF_ERROR(Add((*items)[i], fmt::format("{}.pretokenizers[{}]", field, i)));
    return Status::Ok();
  }
  if (type == "ByteLevel") {
    if (byte_level()) return Unimplemented("{}: a second ByteLevel, expected one at most", field);
    byte_level_stage_ = static_cast<int>(stages_.size());
  }
  if (stages_.size() == kMaxStages) return InvalidArgument("{}: more than {} pre-tokenizers", field, kMaxStages);
  NOSA_ASSIGN_OR_RETURN(auto stage, MakePreTokenizerStage(type, config, field));
  stages_.push_back(std::move(stage));
  return Status::Ok();
}

void PreTokenizer::Split(std::string_view text, TextArena* arena, std::vector<std::string_view>* out) const {
  if (stages_.size() == 1) return stages_[0]->Split(text, arena, out);
  // What follows ByteLevel cuts text in its alphabet, in which, say, a space is a letter.
  const bool in_alphabet = byte_level() && static_cast<size_t>(byte_level_stage_) + 1 < stages_.size();
  std::vector<std::string_view> pieces = {text};
  std::vector<std::string_view> cut;
  for (size_t i = 0; i < stages_.size(); ++i) {
    cut.clear();
    for (const std::string_view piece : pieces) stages_[i]->Split(piece, arena, &cut);
    if (in_alphabet && static_cast<int>(i) == byte_level_stage_)
      for (std::string_view& piece : cut) piece = arena->emplace_back(ToByteLevel(piece));
    pieces.swap(cut);
  }
  if (in_alphabet)
    for (std::string_view& piece : pieces) piece = arena->emplace_back(FromByteLevel(piece).value_or(""));
  out->insert(out->end(), pieces.begin(), pieces.end());
}

}  // namespace nosa::text

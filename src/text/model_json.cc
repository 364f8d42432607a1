#include "text/model_json.h"

#include <utility>

#include "text/json_fields.h"

namespace nosa::text {
namespace {

// Files from before "type" was written have none and are BPE when they have merges.
Status CheckType(const io::Json& model) {
  if (!model.is_object()) return InvalidArgument("model: expected an object, found {}", model.type_name());
  if (Find(model, "type") == nullptr && Find(model, "merges") != nullptr) return Status::Ok();
  NOSA_ASSIGN_OR_RETURN(const std::string type, TypeOf(model, "model"));
  if (type != "BPE") return Unimplemented("model.type: expected BPE, found {}", type);
  return Status::Ok();
}

// Settings that would change ids in ways this program does not have.
Status CheckSettings(const io::Json& model) {
  NOSA_ASSIGN_OR_RETURN(const double dropout, io::GetNumber(model, "dropout", 0));
  if (dropout != 0) return Unimplemented("dropout: expected none, found {}", dropout);
  NOSA_ASSIGN_OR_RETURN(const bool byte_fallback, io::GetBool(model, "byte_fallback", false));
  if (byte_fallback) return Unimplemented("byte_fallback: expected false, found true");
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    NOSA_ASSIGN_OR_RETURN(const std::string affix, io::GetString(model, key, ""));
    if (!affix.empty()) return Unimplemented("{}: expected none, found \"{}\"", key, affix);
  }
  return Status::Ok();
}

Status FillVocabulary(const io::Json& model, Vocabulary* vocabulary) {
  const io::Json* vocab = Find(model, "vocab");
  if (vocab == nullptr) return InvalidArgument("model.vocab: expected the vocabulary, found none");
  if (!vocab->is_object()) return InvalidArgument("model.vocab: expected an object, found {}", vocab->type_name());
  if (vocab->empty()) return InvalidArgument("model.vocab: the vocabulary is empty");
  for (const auto& [name, id] : vocab->items()) {
    if (!id.is_number_integer())
      return InvalidArgument("model.vocab: the id of \"{}\" is {}, expected an integer", name, id.type_name());
    // Unsigned numbers past the signed range would wrap around.
    const bool huge = id.is_number_unsigned() && id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId);
    const int64_t value = huge ? kMaxTokenId + 1 : id.get<int64_t>();
    const Status added = vocabulary->Add(value, {.name = name, .bytes = "", .special = false, .in_model = true});
    if (!added.ok()) return added.WithContext("model.vocab");
  }
  return Status::Ok();
}

// The two sides of a merge. "a b" is cut at its only space: in the byte-level alphabet none is part of a token.
Result<std::pair<std::string_view, std::string_view>> Sides(const io::Json& merge, size_t index) {
  const auto bad = [&] {
    return InvalidArgument("model.merges[{}]: expected [\"a\", \"b\"] or \"a b\", found another form", index);
  };
  if (merge.is_array()) {
    if (merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) return bad();
    return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(),
                                                         merge[1].get_ref<const std::string&>());
  }
  if (!merge.is_string()) return bad();
  const std::string_view text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) return bad();
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

}  // namespace

Result<BpeOptions> ParseModelVocabulary(const io::Json& model, Vocabulary* vocabulary) {
  NOSA_RETURN_IF_ERROR(CheckType(model));
  if (const Status s = CheckSettings(model); !s.ok()) return s.WithContext("model");
  NOSA_RETURN_IF_ERROR(FillVocabulary(model, vocabulary));
  const auto settings = [&]() -> Result<BpeOptions> {
    BpeOptions options;
    NOSA_ASSIGN_OR_RETURN(options.ignore_merges, io::GetBool(model, "ignore_merges", false));
    NOSA_ASSIGN_OR_RETURN(options.fuse_unknown, io::GetBool(model, "fuse_unk", false));
    NOSA_ASSIGN_OR_RETURN(const std::string unknown, io::GetString(model, "unk_token", ""));
    options.unknown = unknown.empty() ? -1 : vocabulary->IdOf(unknown);
    if (!unknown.empty() && options.unknown < 0)
      return InvalidArgument("unk_token: \"{}\" is not in the vocabulary", unknown);
    return options;
  }();
  if (!settings.ok()) return settings.status().WithContext("model");
  return settings;
}

Result<MergeTable> ParseMerges(const io::Json& model, const Vocabulary& vocabulary) {
  NOSA_ASSIGN_OR_RETURN(const io::Json* merges, ArrayField(model, "merges", "model"));
  MergeTable table(merges->size());
  std::string merged;
  for (size_t i = 0; i < merges->size(); ++i) {
    const auto sides = Sides((*merges)[i], i);
    if (!sides.ok()) return sides.status();
    const auto& [left, right] = *sides;
    merged.assign(left).append(right);
    const TokenId ids[] = {vocabulary.IdOf(left), vocabulary.IdOf(right), vocabulary.IdOf(merged)};
    const std::string_view names[] = {left, right, merged};
    for (int k = 0; k < 3; ++k)
      if (ids[k] < 0)
        return InvalidArgument("model.merges[{}]: \"{}\" + \"{}\": \"{}\" is not in the vocabulary", i, left, right,
                               names[k]);
    table.Add(ids[0], ids[1], ids[2]);
  }
  return table;
}

}  // namespace nosa::text

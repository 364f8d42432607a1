#include "text/tokenizer_json.h"

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/model_json.h"

namespace nosa::text {
namespace {

const io::Json& FieldOrNull(const io::Json& root, std::string_view key) {
  static const io::Json kNull;
  const io::Json* field = Find(root, key);
  return field == nullptr ? kNull : *field;
}

Result<AddedToken> ParseAddedToken(const io::Json& config, int64_t* id) {
  AddedToken token;
  NOSA_ASSIGN_OR_RETURN(*id, io::GetInt(config, "id", -1));
  NOSA_ASSIGN_OR_RETURN(token.content, io::GetString(config, "content", ""));
  NOSA_ASSIGN_OR_RETURN(token.special, io::GetBool(config, "special", false));
  NOSA_ASSIGN_OR_RETURN(token.single_word, io::GetBool(config, "single_word", false));
  NOSA_ASSIGN_OR_RETURN(token.lstrip, io::GetBool(config, "lstrip", false));
  NOSA_ASSIGN_OR_RETURN(token.rstrip, io::GetBool(config, "rstrip", false));
  NOSA_ASSIGN_OR_RETURN(token.normalized, io::GetBool(config, "normalized", !token.special));
  if (token.content.empty()) return InvalidArgument("content: expected a text, found an empty one");
  return token;
}

// An added token may be one of the model's, with the same id.
Status AddToVocabulary(const AddedToken& token, int64_t id, Vocabulary* vocabulary) {
  Vocabulary::Token* known = id >= 0 && id <= kMaxTokenId ? vocabulary->Mutable(static_cast<TokenId>(id)) : nullptr;
  if (known == nullptr || known->name != token.content)
    return vocabulary->Add(id, {.name = token.content, .bytes = "", .special = token.special, .in_model = false});
  known->special = token.special;
  return Status::Ok();
}

Result<std::vector<AddedToken>> ParseAddedTokens(const io::Json& config, Vocabulary* vocabulary) {
  std::vector<AddedToken> out;
  if (config.is_null()) return out;
  if (!config.is_array()) return InvalidArgument("expected an array, found {}", config.type_name());
  std::vector<bool> seen;
  for (size_t i = 0; i < config.size(); ++i) {
    const auto at = [i](const Status& s) { return s.WithContext(fmt::format("[{}]", i)); };
    if (!config[i].is_object()) return at(InvalidArgument("expected an object, found {}", config[i].type_name()));
    int64_t id = -1;
    auto token = ParseAddedToken(config[i], &id);
    if (!token.ok()) return at(token.status());
    if (const Status s = AddToVocabulary(*token, id, vocabulary); !s.ok()) return at(s);
    token->id = static_cast<TokenId>(id);
    seen.resize(static_cast<size_t>(vocabulary->size()), false);
    if (seen[static_cast<size_t>(id)]) return at(InvalidArgument("the id {} comes twice", id));
    seen[static_cast<size_t>(id)] = true;
    out.push_back(std::move(*token));
  }
  return out;
}

// Shares the tokens out to the matcher that looks at the raw text and the one that looks at the normalized.
// Special ones come first: of two tokens with one content, the reference takes the first.
void MakeMatchers(const std::vector<AddedToken>& tokens, TokenizerParts* parts) {
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (const bool special : {true, false}) {
    for (const AddedToken& token : tokens) {
      if (token.special != special) continue;
      AddedToken copy = token;
      if (token.normalized) copy.content = parts->normalizer.Normalize(token.content);
      (token.normalized ? normalized : raw).push_back(std::move(copy));
    }
  }
  parts->raw_tokens = AddedTokenMatcher(std::move(raw));
  parts->normalized_tokens = AddedTokenMatcher(std::move(normalized));
}

// Whether tokens are written in the byte-level alphabet. The reference joins tokens with spaces when there is no
// decoder, which serves nobody; without one we take back what the pre-tokenizer did.
Result<bool> ParseDecoder(const io::Json& config, bool pre_tokenizer_byte_level) {
  if (config.is_null()) return pre_tokenizer_byte_level;
  NOSA_ASSIGN_OR_RETURN(const std::string type, TypeOf(config, "decoder"));
  if (type == "ByteLevel") return true;
  if (type != "Sequence") return Unimplemented("decoder: the type is \"{}\", expected ByteLevel or Sequence", type);
  NOSA_ASSIGN_OR_RETURN(const io::Json* items, ArrayField(config, "decoders", "decoder"));
  if (items->size() != 1) return Unimplemented("decoder.decoders: found {} decoders, expected one", items->size());
  NOSA_ASSIGN_OR_RETURN(const std::string only, TypeOf((*items)[0], "decoder.decoders[0]"));
  if (only != "ByteLevel") return Unimplemented("decoder.decoders[0]: the type is \"{}\", expected ByteLevel", only);
  return true;
}

// A token with a character outside the alphabet decodes to its name, as in the reference.
std::string BytesOf(bool byte_level, const std::string& name) {
  auto bytes = byte_level ? FromByteLevel(name) : std::nullopt;
  return bytes ? std::move(*bytes) : name;
}

// What each token decodes to. As in the reference, that is the normal form of the tokens that are looked for in
// normalized text.
void FillBytes(bool byte_level, const Normalizer& normalizer, const std::vector<AddedToken>& added,
               Vocabulary* vocabulary) {
  for (TokenId id = 0; id < vocabulary->size(); ++id)
    if (Vocabulary::Token* token = vocabulary->Mutable(id)) token->bytes = BytesOf(byte_level, token->name);
  for (const AddedToken& token : added)
    if (token.normalized)
      vocabulary->Mutable(token.id)->bytes = BytesOf(byte_level, normalizer.Normalize(token.content));
}

}  // namespace

Result<TokenizerParts> ParseTokenizer(const io::Json& root) {
  if (!root.is_object()) return InvalidArgument("expected an object, found {}", root.type_name());
  TokenizerParts parts;
  NOSA_ASSIGN_OR_RETURN(parts.normalizer, Normalizer::FromJson(FieldOrNull(root, "normalizer")));
  NOSA_ASSIGN_OR_RETURN(parts.pre_tokenizer, PreTokenizer::FromJson(FieldOrNull(root, "pre_tokenizer")));
  const bool byte_level = parts.pre_tokenizer.byte_level();
  NOSA_ASSIGN_OR_RETURN(const bool decode_bytes, ParseDecoder(FieldOrNull(root, "decoder"), byte_level));
  const io::Json& model = FieldOrNull(root, "model");
  auto vocabulary = std::make_shared<Vocabulary>();
  NOSA_ASSIGN_OR_RETURN(BpeOptions options, ParseModelVocabulary(model, vocabulary.get()));
  options.byte_level = byte_level;
  NOSA_ASSIGN_OR_RETURN(MergeTable merges, ParseMerges(model, *vocabulary));
  auto added = ParseAddedTokens(FieldOrNull(root, "added_tokens"), vocabulary.get());
  if (!added.ok()) return added.status().WithContext("added_tokens");
  FillBytes(decode_bytes, parts.normalizer, *added, vocabulary.get());
  NOSA_ASSIGN_OR_RETURN(parts.post_processor,
                        PostProcessor::FromJson(FieldOrNull(root, "post_processor"), *vocabulary));
  parts.vocabulary = vocabulary;
  MakeMatchers(*added, &parts);
  parts.bpe.emplace(parts.vocabulary, std::move(merges), options);
  return parts;
}

}  // namespace nosa::text

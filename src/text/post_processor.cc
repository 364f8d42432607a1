#include "text/post_processor.h"

#include "text/json_fields.h"

namespace nosa::text {
namespace {

// In all, so that a short file cannot ask for endless output.
constexpr size_t kMaxTokens = 4096;

class Builder {
 public:
  explicit Builder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  Status Add(const io::Json& config, std::string_view field) {
    NOSA_ASSIGN_OR_RETURN(const std::string type, TypeOf(config, field));
    if (type == "ByteLevel") return Status::Ok();
    if (type == "TemplateProcessing") return AddTemplate(config, field);
    if (type != "Sequence")
      return Unimplemented("{}: the type is \"{}\", expected ByteLevel, TemplateProcessing or Sequence", field, type);
    NOSA_ASSIGN_OR_RETURN(const io::Json* items, ArrayField(config, "processors", field));
    for (size_t i = 0; i < items->size(); ++i)
      NOSA_RETURN_IF_ERROR(Add((*items)[i], fmt::format("{}.processors[{}]", field, i)));
    return Status::Ok();
  }

  PostProcessor Take() { return std::move(out_); }

 private:
  // Later processors put their tokens outside those of earlier ones.
  Status AddTemplate(const io::Json& config, std::string_view field) {
    NOSA_ASSIGN_OR_RETURN(const io::Json* pieces, ArrayField(config, "single", field));
    std::vector<TokenId> before;
    std::vector<TokenId> after;
    int texts = 0;
    for (const io::Json& piece : *pieces) {
      if (const io::Json* text = Find(piece, "Sequence")) {
        const io::Json* id = Find(*text, "id");
        if (id == nullptr || *id != "A")
          return InvalidArgument("{}.single: expected a Sequence with the id \"A\", found another", field);
        ++texts;
        continue;
      }
      const io::Json* token = Find(piece, "SpecialToken");
      if (token == nullptr)
        return InvalidArgument("{}.single: expected SpecialToken or Sequence, found another", field);
      NOSA_RETURN_IF_ERROR(AppendIds(config, *token, field, texts == 0 ? &before : &after));
      if (before.size() + after.size() + out_.before.size() + out_.after.size() > kMaxTokens)
        return InvalidArgument("{}.single: more than {} tokens", field, kMaxTokens);
    }
    if (texts != 1) return Unimplemented("{}.single: holds the text {} times, expected once", field, texts);
    out_.before.insert(out_.before.begin(), before.begin(), before.end());
    out_.after.insert(out_.after.end(), after.begin(), after.end());
    return Status::Ok();
  }

  Status AppendIds(const io::Json& config, const io::Json& token, std::string_view field, std::vector<TokenId>* out) {
    const io::Json* name = Find(token, "id");
    if (name == nullptr || !name->is_string()) return InvalidArgument("{}.single: a SpecialToken without an id", field);
    const auto& text = name->get_ref<const std::string&>();
    const io::Json* known = Find(config, "special_tokens");
    const io::Json* entry = known ? Find(*known, text) : nullptr;
    if (entry == nullptr) return InvalidArgument("{}.special_tokens: \"{}\" of the template is missing", field, text);
    NOSA_ASSIGN_OR_RETURN(const io::Json* ids, ArrayField(*entry, "ids", fmt::format("{}.special_tokens", field)));
    if (ids->size() > kMaxTokens) return InvalidArgument("{}.special_tokens: more than {} ids", field, kMaxTokens);
    for (const io::Json& id : *ids) {
      const bool fits = id.is_number_unsigned() && id.get<uint64_t>() <= static_cast<uint64_t>(kMaxTokenId);
      if (!fits || vocabulary_.Find(id.get<TokenId>()) == nullptr)
        return InvalidArgument(
            "{}.special_tokens: \"{}\" has an id that is not in the vocabulary, whose ids "
            "are below {}",
            field, text, vocabulary_.size());
      out->push_back(id.get<TokenId>());
    }
    return Status::Ok();
  }

  const Vocabulary& vocabulary_;
  PostProcessor out_;
};

}  // namespace

Result<PostProcessor> PostProcessor::FromJson(const io::Json& config, const Vocabulary& vocabulary) {
  Builder builder(vocabulary);
  if (!config.is_null()) NOSA_RETURN_IF_ERROR(builder.Add(config, "post_processor"));
  return builder.Take();
}

}  // namespace nosa::text

#include "server/chat_format.h"

#include "io/file.h"

namespace nosa::server {

Result<ChatFormat> ChatFormat::Load(const std::filesystem::path& directory,
                                    const std::optional<std::filesystem::path>& file) {
  if (file) {
    NOSA_ASSIGN_OR_RETURN(const std::string source, io::ReadTextFile(*file));
    Result<text::ChatTemplate> parsed = text::ChatTemplate::Parse(source);
    if (!parsed.ok()) return parsed.status().WithContext(file->string());
    NOSA_ASSIGN_OR_RETURN(io::OrderedJson tokens, text::LoadSpecialTokens(directory));
    ChatFormat format(*std::move(parsed), std::move(tokens), source);
    format.Inspect();
    return format;
  }
  Result<text::CheckpointChatTemplate> own = text::LoadChatTemplate(directory);
  if (own.ok()) {
    ChatFormat format(std::move(own->chat_template), std::move(own->special_tokens), std::move(own->source));
    format.Inspect();
    return format;
  }
  if (own.status().code() != StatusCode::kNotFound) return own.status();
  NOSA_ASSIGN_OR_RETURN(text::ChatTemplate plain, text::ChatTemplate::Parse(kPlainTemplate));
  ChatFormat format(std::move(plain), io::OrderedJson::object(), std::string(kPlainTemplate));
  format.plain_ = true;
  return format;
}

// A template tells by its words alone how the model was trained to write calls.
void ChatFormat::Inspect() {
  takes_tools_ = source_.find("tools") != std::string::npos;
  tags_calls_ = source_.find("<tool_call>") != std::string::npos;
  if (!tags_calls_ && source_.find("\"parameters\":") != std::string::npos) arguments_name_ = "parameters";
}

Result<std::string> ChatFormat::Render(io::OrderedJson context) const {
  for (const auto& [name, token] : special_tokens_.items()) {
    if (!context.contains(name)) context[name] = token;
  }
  context["add_generation_prompt"] = true;
  return template_.Render(context);
}

std::vector<TokenId> ChatFormat::Encode(const text::Tokenizer& tokenizer, const std::string& prompt) const {
  // A template writes its begin token itself; the plain one has no special tokens, so that names of them are text.
  return tokenizer.Encode(prompt, {.add_special_tokens = plain_, .parse_special_tokens = !plain_});
}

}  // namespace nosa::server

// Finds the chat template of a checkpoint.
#include <system_error>
#include <vector>

#include "io/file.h"
#include "text/chat_template.h"

namespace nosa::text {
namespace {

// The template in tokenizer_config.json's "chat_template".
Result<std::string> Choose(const io::Json& field, std::string_view name) {
  if (field.is_string()) return field.get<std::string>();
  if (!field.is_array()) return InvalidArgument("\"chat_template\" is neither a string nor a list of named templates");
  for (const io::Json& entry : field) {
    NOSA_ASSIGN_OR_RETURN(const std::string entry_name, io::GetString(entry, "name", ""));
    if (entry_name == name) return io::GetString(entry, "template", "");
  }
  return NotFound("\"chat_template\" has {} templates and none named \"{}\"", field.size(), name);
}

// tokenizer_config.json; an empty object when there is none.
Result<io::Json> ReadConfig(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return io::Json::object();
  NOSA_ASSIGN_OR_RETURN(io::Json config, io::ReadJsonFile(path));
  if (!config.is_object()) return InvalidArgument("{} holds no JSON object", path.string());
  return config;
}

// "bos_token": "<s>", or an object with the text as "content".
io::OrderedJson SpecialTokens(const io::Json& config) {
  io::OrderedJson tokens = io::OrderedJson::object();
  for (const auto& [key, value] : config.items()) {
    if (!key.ends_with("_token")) continue;
    const io::Json& text = value.is_object() && value.contains("content") ? value.at("content") : value;
    if (text.is_string()) tokens[key] = text.get<std::string>();
  }
  return tokens;
}

}  // namespace

Result<CheckpointChatTemplate> LoadChatTemplate(const std::filesystem::path& directory, std::string_view name) {
  const std::filesystem::path config_path = directory / "tokenizer_config.json";
  const std::filesystem::path jinja_path = directory / "chat_template.jinja";
  std::error_code ignored;
  const bool has_jinja = std::filesystem::exists(jinja_path, ignored);
  NOSA_ASSIGN_OR_RETURN(const io::Json config, ReadConfig(config_path));
  std::string source;
  if (has_jinja) {
    NOSA_ASSIGN_OR_RETURN(source, io::ReadTextFile(jinja_path));
  } else if (config.contains("chat_template")) {
    auto chosen = Choose(config.at("chat_template"), name);
    if (!chosen.ok()) return chosen.status().WithContext(config_path.string());
    source = *std::move(chosen);
  } else {
    return NotFound("{} has no chat template: no chat_template.jinja, no \"chat_template\" in tokenizer_config.json",
                    directory.string());
  }
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status().WithContext((has_jinja ? jinja_path : config_path).string());
  return CheckpointChatTemplate{*std::move(parsed), SpecialTokens(config), std::move(source)};
}

Result<io::OrderedJson> LoadSpecialTokens(const std::filesystem::path& directory) {
  NOSA_ASSIGN_OR_RETURN(const io::Json config, ReadConfig(directory / "tokenizer_config.json"));
  return SpecialTokens(config);
}

}  // namespace nosa::text

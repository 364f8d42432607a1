#include "apps/prompt_input.h"

#include <limits>

#include "io/file.h"
#include "io/json.h"

namespace nosa::apps {
namespace {

Result<Prompt> Encoded(const Session& session, std::string name, std::string text,
                       const std::optional<std::string>& question) {
  NOSA_RETURN_IF_ERROR(session.NeedTokenizer());
  if (question) text += "\n" + *question;
  if (text.empty()) return InvalidArgument("{}: the prompt is empty", name);
  return Prompt{std::move(name), session.tokenizer->Encode(text, {})};
}

Result<Prompt> FromIds(const Session& session, const std::string& file, const std::optional<std::string>& question) {
  Prompt prompt = {file, {}};
  NOSA_ASSIGN_OR_RETURN(prompt.ids, ReadIds(file));
  if (question) {
    NOSA_RETURN_IF_ERROR(session.NeedTokenizer());
    const std::vector<TokenId> more = session.tokenizer->Encode("\n" + *question, {.add_special_tokens = false});
    prompt.ids.insert(prompt.ids.end(), more.begin(), more.end());
  }
  if (prompt.ids.empty()) return InvalidArgument("{}: the prompt is empty", file);
  return prompt;
}

}  // namespace

void AddPromptFlags(Command& command, PromptFlags* flags) {
  command.Text("--prompt", &flags->prompt, "the prompt");
  command.Texts("--prompt-file", &flags->files,
                "file with the prompt; given several times, all are answered as one batch", "FILE");
  command.Text("--ids", &flags->ids, "file with the prompt as a JSON array of token ids", "FILE");
  command.Text("--question", &flags->question, "appended to each prompt, on a line of its own");
}

Status CheckPromptFlags(const PromptFlags& flags) {
  const int kinds = (flags.prompt ? 1 : 0) + (flags.files.empty() ? 0 : 1) + (flags.ids ? 1 : 0);
  if (kinds == 1) return Status::Ok();
  return InvalidArgument("expected one of --prompt, --prompt-file and --ids, found {}",
                         kinds == 0 ? "none" : "several");
}

Result<std::vector<Prompt>> ReadPrompts(const Session& session, const PromptFlags& flags) {
  std::vector<Prompt> prompts;
  if (flags.prompt) {
    NOSA_ASSIGN_OR_RETURN(prompts.emplace_back(), Encoded(session, "--prompt", *flags.prompt, flags.question));
  }
  for (const std::string& file : flags.files) {
    NOSA_ASSIGN_OR_RETURN(std::string text, io::ReadTextFile(file));
    NOSA_ASSIGN_OR_RETURN(prompts.emplace_back(), Encoded(session, file, std::move(text), flags.question));
  }
  if (flags.ids) {
    NOSA_ASSIGN_OR_RETURN(prompts.emplace_back(), FromIds(session, *flags.ids, flags.question));
  }
  return prompts;
}

Result<std::vector<TokenId>> ReadIds(const std::filesystem::path& file) {
  NOSA_ASSIGN_OR_RETURN(const io::Json json, io::ReadJsonFile(file));
  if (!json.is_array())
    return InvalidArgument("{}: expected a JSON array of token ids, found {}", file.string(), json.type_name());
  std::vector<TokenId> ids;
  ids.reserve(json.size());
  for (const io::Json& value : json) {
    constexpr int64_t kMost = std::numeric_limits<TokenId>::max();
    const bool fits = value.is_number_integer() && value <= kMost && value >= -kMost;
    if (!fits)
      return InvalidArgument("{}: expected token ids, found {} at place {}", file.string(),
                             io::DumpJson(value).substr(0, 40), ids.size());
    ids.push_back(value.get<TokenId>());
  }
  return ids;
}

}  // namespace nosa::apps

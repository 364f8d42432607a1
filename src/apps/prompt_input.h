// Prompts from the command line and from files, as token ids.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps/session.h"
#include "base/ids.h"
#include "base/status.h"

namespace nosa::apps {

struct PromptFlags {
  std::optional<std::string> prompt;
  std::vector<std::string> files;
  std::optional<std::string> ids;       // path of a JSON array
  std::optional<std::string> question;  // appended to each, on a line of its own
};

void AddPromptFlags(Command& command, PromptFlags* flags);
// One kind of source, no more.
Status CheckPromptFlags(const PromptFlags& flags);

struct Prompt {
  std::string name;  // for people: the file, or "--prompt"
  std::vector<TokenId> ids;
};

// kInvalidArgument naming the source: empty, not a JSON array of integers. Ids that are outside the vocabulary are the
// engine's to refuse. Text needs the session's tokenizer; ids without a question do not.
Result<std::vector<Prompt>> ReadPrompts(const Session& session, const PromptFlags& flags);

// A JSON array of integers.
Result<std::vector<TokenId>> ReadIds(const std::filesystem::path& file);

}  // namespace nosa::apps

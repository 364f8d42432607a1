// How a conversation becomes a prompt, and how the model's tool calls are written: the checkpoint's chat template, one
// of a file, or the plain one below.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "io/json.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace nosa::server {

// For models without a template, which know no turns: a transcript that the model goes on with. Its answers end where
// the next turn would begin.
inline constexpr std::string_view kPlainTemplate =
    "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n\n{% endfor %}Assistant:";
inline constexpr std::string_view kPlainStop = "\n\nUser:";

// Immutable, thread-safe.
class ChatFormat {
 public:
  // `file`, else the template of the checkpoint in `directory`, else the plain one. Fails as ChatTemplate::Parse does,
  // and when the file cannot be read.
  static Result<ChatFormat> Load(const std::filesystem::path& directory,
                                 const std::optional<std::filesystem::path>& file);

  // The text of the prompt. `context` has messages, and perhaps tools and variables of the caller. Fails as
  // ChatTemplate::Render.
  Result<std::string> Render(io::OrderedJson context) const;
  // The tokens of a prompt. In one from a template, names of special tokens are those tokens.
  std::vector<TokenId> Encode(const text::Tokenizer& tokenizer, const std::string& prompt) const;

  const std::string& source() const { return source_; }
  // Whether the template does something with `tools`.
  bool takes_tools() const { return takes_tools_; }
  // Whether calls stand between <tool_call> and </tool_call>; if not, they are bare JSON.
  bool tags_calls() const { return tags_calls_; }
  // What a call's arguments are named in bare JSON.
  std::string_view arguments_name() const { return arguments_name_; }
  // Text that ends an answer beside what the request says; "" when the model's end token does.
  std::string_view stop() const { return plain_ ? kPlainStop : ""; }

 private:
  ChatFormat(text::ChatTemplate chat_template, io::OrderedJson special_tokens, std::string source)
      : template_(std::move(chat_template)), special_tokens_(std::move(special_tokens)), source_(std::move(source)) {}
  void Inspect();

  text::ChatTemplate template_;
  io::OrderedJson special_tokens_;
  std::string source_;
  bool plain_ = false, takes_tools_ = false, tags_calls_ = false;
  std::string_view arguments_name_ = "arguments";
};

}  // namespace nosa::server

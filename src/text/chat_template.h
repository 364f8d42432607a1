// Chat templates as model makers write them: a conversation to the text of a prompt. The language is that of Hugging
// Face transformers' apply_chat_template: jinja2 with trim_blocks, lstrip_blocks and loop controls, in its immutable
// sandbox, with tojson, raise_exception, strftime_now and {% generation %}. No Jinja library is a Debian package,
// which is why the interpreter (text/jinja/) is ours; tests/chat_template/ compares it with jinja2 byte for byte.
//
// A template reads its context and writes text: it sees no file, no clock but the one given, and no other template
// (include, import, extends and block are refused). What it may cost is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/json.h"

namespace nosa::text {

// Exceeding one is kResourceExhausted. The defaults let a conversation of a million tokens through, and end a
// template that runs wild within seconds.
struct RenderLimits {
  int64_t max_steps = 20'000'000;              // nodes evaluated, rounds of loops, values compared
  int64_t max_value_bytes = int64_t{1} << 30;  // all values made while rendering, together
  size_t max_output_bytes = size_t{64} << 20;
  int max_depth = 600;  // expressions and tags within each other, through macros; about 1 KB of stack each
};

// What strftime_now tells, in local time.
using WallClock = std::function<std::time_t()>;

// Immutable, thread-safe.
class ChatTemplate {
 public:
  // kInvalidArgument with the line and the construct that is wrong or refused; kResourceExhausted when it is nested
  // too deeply. An unknown filter or test is found when it is reached.
  static Result<ChatTemplate> Parse(std::string_view source);

  // `context` is an object: its names are the template's variables (messages, tools, add_generation_prompt ...).
  // The order of keys is kept. kInvalidArgument with the line when the template or the context is wrong, or the
  // template calls raise_exception. Integers outside 64 bits are an error. O(what the template does).
  Result<std::string> Render(const io::OrderedJson& context, const RenderLimits& limits = {},
                             const WallClock& clock = nullptr) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// The template of a checkpoint, and the special tokens that its files name (bos_token, eos_token ...), which belong
// in the context below what the caller puts there.
struct CheckpointChatTemplate {
  ChatTemplate chat_template;
  io::OrderedJson special_tokens;  // an object of strings
  std::string source;              // what was parsed
};

// `directory`/chat_template.jinja, else "chat_template" of tokenizer_config.json: a string, or a list of named ones
// ({"name": ..., "template": ...}) of which `name` is taken. kNotFound when there is none; else as Parse.
Result<CheckpointChatTemplate> LoadChatTemplate(const std::filesystem::path& directory,
                                                std::string_view name = "default");

// The special tokens alone, for a template from elsewhere: an object of strings, empty when `directory` has no
// tokenizer_config.json. kInvalidArgument when that is no JSON object.
Result<io::OrderedJson> LoadSpecialTokens(const std::filesystem::path& directory);

}  // namespace nosa::text

// What the tests of this room share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "io/json.h"
#include "server/chat_format.h"
#include "text/tokenizer.h"

namespace nosa::server {

inline io::OrderedJson Json(std::string_view text) {
  Result<io::OrderedJson> json = io::ParseOrderedJson(text, "test");
  EXPECT_TRUE(json.ok()) << text;
  return json.ok() ? *json : io::OrderedJson();
}

// The shipped model's.
inline std::shared_ptr<const text::Tokenizer> ShippedTokenizer() {
  static const auto tokenizer = text::Tokenizer::FromFile(NOSA_SOURCE_DIR "/models/nosa-21m/tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return *tokenizer;
}

// A template of ours: turns between special tokens, tools, calls between tags.
inline constexpr std::string_view kToolTemplate =
    "{% if tools %}<s>tools: {{ tools | tojson }}</s>\n{% endif %}"
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}</s>\n{% endfor %}"
    "<s>assistant: ";

inline ChatFormat FormatOf(std::string_view source) {
  const std::string file = testing::TempDir() + "/template.jinja";
  std::FILE* out = std::fopen(file.c_str(), "wb");
  std::fwrite(source.data(), 1, source.size(), out);
  std::fclose(out);
  Result<ChatFormat> format = ChatFormat::Load(testing::TempDir(), file);
  EXPECT_TRUE(format.ok()) << format.status().ToString();
  return *std::move(format);
}

}  // namespace nosa::server

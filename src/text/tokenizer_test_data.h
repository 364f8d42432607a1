// A tokenizer small enough to read, for tests.
#pragma once

#include <string>

#include "io/json.h"
#include "text/byte_level.h"

namespace nosa::text {

// 256 bytes (ids 0 to 255), "he" 256, "ll" 257, "hell" 258, the special tokens "<s>" 259 and "</s>" 260, the added
// token "<x>" 261; "<s>" before every text.
inline io::Json SmallTokenizer() {
  io::Json vocab = io::Json::object();
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    vocab[ToByteLevel({&byte, 1})] = b;
  }
  vocab["he"] = 256;
  vocab["ll"] = 257;
  vocab["hell"] = 258;
  const auto added = [](int id, const char* content, bool special) {
    return io::Json{{"id", id},        {"content", content}, {"special", special},  {"normalized", false},
                    {"lstrip", false}, {"rstrip", false},    {"single_word", false}};
  };
  io::Json out;
  out["added_tokens"] = {added(259, "<s>", true), added(260, "</s>", true), added(261, "<x>", false)};
  out["normalizer"] = {{"type", "NFC"}};
  out["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const io::Json bos = {{"id", "<s>"}, {"ids", {259}}, {"tokens", {"<s>"}}};
  out["post_processor"] = {{"type", "TemplateProcessing"}, {"special_tokens", {{"<s>", bos}}}};
  out["post_processor"]["single"] = {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                                     {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  out["decoder"] = {{"type", "ByteLevel"}};
  out["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"h e", "l l", "he ll"}}};
  return out;
}

}  // namespace nosa::text

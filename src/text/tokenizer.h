// Strings to token ids and back: byte-level BPE with added tokens, as `tokenizer.json` of the Hugging Face
// `tokenizers` library describes it. Same ids as that library for the forms it supports.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace nosa::text {

struct EncodeOptions {
  bool add_special_tokens = true;  // what the post-processor adds (often a begin token)
  // Whether "</s>" in the text becomes the special token. False for text from strangers.
  bool parse_special_tokens = true;
};

// Immutable, thread-safe.
class Tokenizer {
 public:
  // Fails (one sentence, naming the file and field): not JSON, no vocabulary, a model other than BPE, an
  // id outside the vocabulary's range or twice, a merge that names an unknown token, a pre-tokenizer,
  // normalizer, decoder or post-processor this program does not know.
  static Result<std::shared_ptr<const Tokenizer>> FromFile(const std::filesystem::path& tokenizer_json);
  static Result<std::shared_ptr<const Tokenizer>> FromJson(std::string_view json, std::string_view what);

  virtual ~Tokenizer() = default;

  // Any bytes; ill-formed UTF-8 is encoded as U+FFFD, as the reference does after Python's decoding.
  // O(n log n) in the bytes.
  virtual std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const = 0;

  // Bytes of the tokens. Ids outside the vocabulary are an error that names them.
  // Special tokens are left out unless `keep_special`.
  virtual Result<std::string> Decode(std::span<const TokenId> ids, bool keep_special) const = 0;

  // Raw bytes of one token, may be part of a character; empty for ids outside the vocabulary.
  virtual std::string_view TokenBytes(TokenId id) const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;
  // -1 when there is no such token.
  virtual TokenId IdOf(std::string_view token) const = 0;
  // One more than the largest id.
  virtual int32_t vocab_size() const = 0;
};

// Text from tokens as they come: holds back bytes that are not a whole character yet. One per stream.
class StreamingDetokenizer {
 public:
  explicit StreamingDetokenizer(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}
  // Appends one token; returns what became certain, always valid UTF-8.
  std::string Push(TokenId id);
  // What is left, with U+FFFD for an unfinished character.
  std::string Finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string pending_;
};

}  // namespace nosa::text

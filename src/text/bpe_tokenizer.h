// The Tokenizer this program has: added tokens, normal form, words, BPE, post-processor, in this order.
#pragma once

#include <memory>
#include <optional>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace nosa::text {

// What a tokenizer.json says, checked.
struct TokenizerParts {
  std::shared_ptr<const Vocabulary> vocabulary;
  AddedTokenMatcher raw_tokens;         // found in the text as it came
  AddedTokenMatcher normalized_tokens;  // found after normalization
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<Bpe> bpe;
  PostProcessor post_processor;
};

// Thread-safe: every call has its own working memory.
class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const override;
  Result<std::string> Decode(std::span<const TokenId> ids, bool keep_special) const override;
  std::string_view TokenBytes(TokenId id) const override;
  bool IsSpecial(TokenId id) const override;
  TokenId IdOf(std::string_view token) const override;
  int32_t vocab_size() const override;

 private:
  struct Call;
  void EncodeText(std::string_view text, Call* call) const;
  void EncodeWords(std::string_view text, Call* call) const;

  TokenizerParts parts_;
};

}  // namespace nosa::text

#include "text/bpe_tokenizer.h"

#include "text/utf8.h"
#include "text/word_cache.h"

namespace nosa::text {

// What one Encode needs on the way. The cache holds views of strings in the arena.
struct BpeTokenizer::Call {
  explicit Call(size_t text_bytes) : cache(text_bytes) {}

  bool parse_special = true;
  TextArena arena;
  WordCache cache;
  Bpe::Scratch scratch;
  std::vector<std::string_view> words;
  std::vector<TokenId> out;
};

std::vector<TokenId> BpeTokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  Call call(text.size());
  call.parse_special = options.parse_special_tokens;
  const PostProcessor& post = parts_.post_processor;
  if (options.add_special_tokens) call.out = post.before;
  if (!IsWellFormedUtf8(text)) {
    std::string repaired;
    AppendWellFormed(text, false, &repaired);
    text = call.arena.emplace_back(std::move(repaired));
  }
  std::vector<TextSegment> segments;
  parts_.raw_tokens.Split(text, !options.parse_special_tokens, &segments);
  for (const TextSegment& segment : segments) {
    if (segment.id >= 0) {
      call.out.push_back(segment.id);
    } else {
      EncodeText(segment.text, &call);
    }
  }
  if (options.add_special_tokens) call.out.insert(call.out.end(), post.after.begin(), post.after.end());
  return std::move(call.out);
}

// A text between tokens that are found before normalization.
void BpeTokenizer::EncodeText(std::string_view text, Call* call) const {
  if (!parts_.normalizer.identity()) text = call->arena.emplace_back(parts_.normalizer.Normalize(text));
  std::vector<TextSegment> segments;
  parts_.normalized_tokens.Split(text, !call->parse_special, &segments);
  for (const TextSegment& segment : segments) {
    if (segment.id >= 0) {
      call->out.push_back(segment.id);
    } else {
      EncodeWords(segment.text, call);
    }
  }
}

void BpeTokenizer::EncodeWords(std::string_view text, Call* call) const {
  call->words.clear();
  parts_.pre_tokenizer.Split(text, &call->arena, &call->words);
  for (const std::string_view word : call->words) {
    if (call->cache.Append(word, &call->out)) continue;
    const size_t begin = call->out.size();
    parts_.bpe->Encode(word, call->parse_special, &call->scratch, &call->out);
    call->cache.Note(word, begin, call->out);
  }
}

Result<std::string> BpeTokenizer::Decode(std::span<const TokenId> ids, bool keep_special) const {
  std::string out;
  for (const TokenId id : ids) {
    const Vocabulary::Token* token = parts_.vocabulary->Find(id);
    if (token == nullptr)
      return InvalidArgument("token id {} is not in the vocabulary, whose ids are below {}", id, vocab_size());
    if (keep_special || !token->special) out.append(token->bytes);
  }
  return out;
}

std::string_view BpeTokenizer::TokenBytes(TokenId id) const {
  const Vocabulary::Token* token = parts_.vocabulary->Find(id);
  return token == nullptr ? std::string_view() : std::string_view(token->bytes);
}

bool BpeTokenizer::IsSpecial(TokenId id) const {
  const Vocabulary::Token* token = parts_.vocabulary->Find(id);
  return token != nullptr && token->special;
}

TokenId BpeTokenizer::IdOf(std::string_view token) const { return parts_.vocabulary->IdOf(token); }

int32_t BpeTokenizer::vocab_size() const { return parts_.vocabulary->size(); }

}  // namespace nosa::text

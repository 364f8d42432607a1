#include "server/completion_request.h"

#include <fmt/format.h>

#include "server/fields.h"

namespace nosa::server {
namespace {

using io::OrderedJson;
using MaybeError = std::optional<ApiError>;

MaybeError AddPrompt(std::string_view place, const OrderedJson& prompt, const text::Tokenizer& tokenizer,
                     CompletionRequest* request) {
  std::vector<TokenId>& ids = request->prompts.emplace_back();
  if (prompt.is_string()) {
    ids = tokenizer.Encode(prompt.get_ref<const std::string&>(), {});
  } else if (prompt.is_array()) {
    if (auto error = ParseTokenIds(place, prompt, tokenizer.vocab_size(), &ids)) return error;
  } else {
    return WrongType(place, "a string or an array of token ids", prompt);
  }
  if (ids.empty())
    return BadField(std::string(place),
                    fmt::format("Invalid '{}': expected at least one token, but got an empty prompt.", place),
                    "invalid_value");
  return std::nullopt;
}

MaybeError ParsePrompts(const OrderedJson& prompt, const text::Tokenizer& tokenizer, CompletionRequest* request) {
  const bool one = prompt.is_string() || prompt.empty() || prompt[0].is_number();
  if (one) return AddPrompt("prompt", prompt, tokenizer, request);
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (auto error = AddPrompt(fmt::format("prompt[{}]", i), prompt[i], tokenizer, request)) return error;
  }
  return std::nullopt;
}

}  // namespace

MaybeError ParseTokenIds(std::string_view place, const OrderedJson& array, int vocab, std::vector<TokenId>* ids) {
  ids->reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const OrderedJson& id = array[i];
    const bool fits = id.is_number_integer() && id >= 0 && id < vocab;
    if (!fits)
      return BadField(std::string(place),
                      fmt::format("Invalid '{}[{}]': expected a token id from 0 to {}, but got {}.", place, i,
                                  vocab - 1, io::DumpJson(id).substr(0, 40)),
                      "invalid_value");
    ids->push_back(id.get<TokenId>());
  }
  return std::nullopt;
}

MaybeError ParseCompletionRequest(const OrderedJson& body, const text::Tokenizer& tokenizer,
                                  const RequestLimits& limits, GrammarCache* grammars, CompletionRequest* request) {
  if (auto error = CheckFields(BodyKind::kCompletion, body)) return error;
  GenerationParams& params = request->params;
  if (auto error = ParseGenerationParams(BodyKind::kCompletion, body, grammars, &params)) return error;
  if (!params.max_tokens) params.max_tokens = 16;  // OpenAI's default
  if (const OrderedJson* echo = Find(body, "echo")) request->echo = echo->get<bool>();
  request->best_of = params.choices;
  if (const OrderedJson* best_of = Find(body, "best_of")) request->best_of = static_cast<int>(ToInteger(*best_of));
  if (request->best_of < params.choices)
    return BadField(
        "best_of",
        fmt::format("Invalid 'best_of': expected at least n, {}, but got {}.", params.choices, request->best_of),
        "invalid_value");
  if (request->best_of > params.choices && params.stream)
    return BadField("best_of", "Invalid 'best_of': the best are known at the end, which a stream cannot wait for.",
                    "invalid_value");
  if (params.max_tokens == 0 && !request->echo)
    return BadField("max_tokens",
                    "Invalid 'max_tokens': 0 is for requests with echo, which then tell about the prompt alone.",
                    "invalid_value");
  const OrderedJson& prompt = *Find(body, "prompt");
  // Before anything is encoded: an array of a million texts is refused by its length.
  const bool many = prompt.is_array() && !prompt.empty() && !prompt[0].is_number();
  const uint64_t choices = (many ? prompt.size() : 1) * static_cast<uint64_t>(request->best_of);
  if (choices > static_cast<uint64_t>(limits.most_choices))
    return BadField(many                                ? "prompt"
                    : request->best_of > params.choices ? "best_of"
                                                        : "n",
                    fmt::format("Invalid request: it asks for {} answers, at most {} are given at once.", choices,
                                limits.most_choices),
                    "invalid_value");
  return ParsePrompts(prompt, tokenizer, request);
}

}  // namespace nosa::server

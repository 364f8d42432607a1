// Any bytes as the body of a request: they end in a request that the engine can be given, or in an error that can be
// sent.
// Input: one byte (0 to 3: chat, completion, tokenize, detokenize; plus 4: the template takes tools), the body.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/chat_request.h"
#include "server/tokenize_request.h"
#include "text/utf8.h"

namespace {

using namespace nosa;
using namespace nosa::server;

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

// The shipped model's tokenizer; chats without a template, and with one that does something with tools.
struct Server {
  Result<std::shared_ptr<const text::Tokenizer>> tokenizer =
      text::Tokenizer::FromFile(NOSA_SOURCE_DIR "/models/nosa-21m/tokenizer.json");
  Result<ChatFormat> plain = ChatFormat::Load("nowhere", std::nullopt);
  Result<ChatFormat> tools =
      ChatFormat::Load("nowhere", NOSA_SOURCE_DIR "/tests/fuzz/seeds/chat_template_fuzz/tools.jinja");
};

void CheckIds(const std::vector<TokenId>& ids, const text::Tokenizer& tokenizer) {
  for (const TokenId id : ids) Require(id >= 0 && id < tokenizer.vocab_size());
}

void CheckParams(const GenerationParams& params, int answers) {
  const engine::SamplingParams& sampling = params.request.sampling;
  Require(sampling.temperature >= 0 && sampling.temperature <= 2 && sampling.top_p > 0 && sampling.top_p <= 1);
  Require(sampling.min_p >= 0 && sampling.min_p <= 1 && sampling.top_k >= 0 && sampling.repetition_penalty > 0);
  Require(params.max_tokens.value_or(0) >= 0 && params.choices >= 1);
  Require(answers >= 1 && answers <= RequestLimits().most_choices);
  Require(params.logprobs >= -1 && params.logprobs <= 20 && params.request.stop.size() <= 5);
}

// Clients get it as JSON: a sentence or two, however long what they sent is.
void CheckError(const ApiError& error) {
  Require(error.http_status >= 400 && error.http_status < 500 && !error.message.empty());
  Require(error.message.size() < 2000 && text::IsWellFormedUtf8(ToReply(error).body));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Server server;
  static GrammarCache grammars;
  if (size == 0) return 0;
  const text::Tokenizer& tokenizer = **server.tokenizer;
  const ChatFormat& format = (data[0] & 4) != 0 ? *server.tools : *server.plain;
  const auto body = io::ParseOrderedJson({reinterpret_cast<const char*>(data) + 1, size - 1}, "the body");
  if (!body.ok()) return 0;
  std::optional<ApiError> error;
  if ((data[0] & 3) == 0) {
    ChatRequest request;
    error = ParseChatRequest(*body, tokenizer, format, {}, &grammars, &request);
    if (!error) {
      CheckParams(request.params, request.params.choices);
      CheckIds(request.prompt, tokenizer);
      Require(!request.prompt.empty());
    }
  } else if ((data[0] & 3) == 1) {
    CompletionRequest request;
    error = ParseCompletionRequest(*body, tokenizer, {}, &grammars, &request);
    if (!error) {
      CheckParams(request.params, static_cast<int>(request.prompts.size()) * request.best_of);
      for (const std::vector<TokenId>& prompt : request.prompts) CheckIds(prompt, tokenizer);
      Require(request.best_of >= request.params.choices);
    }
  } else {
    TokenizeRequest request;
    error = (data[0] & 3) == 2 ? ParseTokenizeRequest(*body, tokenizer, format, &request)
                               : ParseDetokenizeRequest(*body, tokenizer, &request);
    if (!error) CheckIds(request.ids, tokenizer);
  }
  if (error) CheckError(*error);
  return 0;
}

// What handlers share: the engine's service, the model's words, the limits, the counters.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/service.h"
#include "server/chat_format.h"
#include "server/completion_request.h"
#include "server/metrics.h"
#include "text/tokenizer.h"

namespace nosa::server {

struct App {
  // `service` outlives this; `tokenizer` is not null.
  App(engine::Service* service, std::shared_ptr<const text::Tokenizer> tokenizer, ChatFormat chat)
      : service(service), tokenizer(std::move(tokenizer)), chat(std::move(chat)) {}

  engine::Service* const service;
  const std::shared_ptr<const text::Tokenizer> tokenizer;
  const ChatFormat chat;
  std::vector<std::string> model_names = {"nosa"};    // the first is the model's own, the others stand for it too
  std::string bos_token, eos_token;                   // their texts; "" when the model has none
  int64_t created = 0;                                // Unix seconds, of the model
  int context = 0;                                    // most tokens of a prompt with its answer
  int default_max_tokens = 2048;                      // of a chat's answer that names no bound
  std::optional<std::chrono::milliseconds> deadline;  // of every request
  RequestLimits limits;
  bool needs_key = false;  // there are API keys

  GrammarCache grammars;
  ServerMetrics metrics;
  std::atomic<bool> ready = true;
};

}  // namespace nosa::server

// A service over a small random model, and everything a reader was told.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/service.h"
#include "tests/parity/engine_test_util.h"
#include "tests/parity/small_models.h"

namespace nosa::engine {

using std::chrono::milliseconds;

// Long enough for any step of a small model under a sanitizer on a busy machine.
inline constexpr milliseconds kLong{60000};

inline RigOptions SmallRig() {
  RigOptions options;
  options.model = SmallCheckpoint("service_one_kv_head", OneKvHead(false), 5);
  options.threads = 1;
  options.engine.prefill_chunk = 64;
  return options;
}

inline std::vector<TokenId> SmallPrompt(int tokens, uint64_t stream) {
  std::vector<TokenId> prompt = RandomPrompt(tokens, stream);
  for (TokenId& id : prompt) id %= 257;
  return prompt;
}

// The service, and what must outlive it.
struct Served {
  std::shared_ptr<ops::Backend> backend;
  std::shared_ptr<const model::Model> model;
  std::unique_ptr<Service> service;
};

inline Served Serve(RigOptions rig, ServiceOptions options = {}) {
  Rig made = MakeRig(std::move(rig));
  return {made.backend, made.model, Service::Create(std::move(made.engine), std::move(options))};
}

inline std::unique_ptr<Answer> MustSubmit(Service& service, ServiceRequest request) {
  Refusal refusal;
  std::unique_ptr<Answer> answer = service.Submit(std::move(request), &refusal);
  EXPECT_NE(answer, nullptr) << refusal.status.ToString();
  return answer;
}

// All an answer said, to its end.
struct Heard {
  std::vector<TokenId> ids;
  std::string text;
  std::vector<AnswerEvent> events;
  AnswerEvent last;  // kFinished
  bool ended = false;
};

// `patience`: for each event.
inline Heard ReadAll(Answer& answer, milliseconds patience = kLong) {
  Heard heard;
  while (!heard.ended) {
    std::optional<AnswerEvent> event = answer.Next(patience);
    if (!event) break;
    heard.text += event->text;
    if (event->kind == AnswerEvent::Kind::kToken) heard.ids.push_back(event->token);
    heard.ended = event->kind == AnswerEvent::Kind::kFinished;
    if (heard.ended) heard.last = *event;
    heard.events.push_back(*std::move(event));
  }
  EXPECT_TRUE(heard.ended) << "nothing came any more";
  return heard;
}

}  // namespace nosa::engine

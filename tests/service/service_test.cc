// The service with the real engine: what readers are told, and what is left when they go.
#include <atomic>
#include <cmath>
#include <functional>
#include <thread>

#include "ops/host_backend.h"
#include "tests/service/service_test_util.h"

namespace nosa::engine {
namespace {

ServiceRequest Ask(int prompt, int answer, uint64_t stream) {
  ServiceRequest request;
  request.request = {.prompt = SmallPrompt(prompt, stream), .max_tokens = answer, .ignore_eos = true};
  return request;
}

// Of the same requests, one after the other, straight from an engine.
std::vector<std::vector<TokenId>> Alone(const std::vector<ServiceRequest>& requests) {
  const Rig rig = MakeRig(SmallRig());
  std::vector<std::vector<TokenId>> answers;
  for (const ServiceRequest& request : requests) answers.push_back(RunRequest(*rig.engine, request.request).result.ids);
  return answers;
}

TEST(ServiceTest, ManyThreadsGetWhatEachWouldGetAlone) {
  std::vector<ServiceRequest> requests;
  for (uint64_t i = 0; i < 24; ++i) {
    requests.push_back(Ask(1 + static_cast<int>(37 * i % 300), 3 + static_cast<int>(i % 9), i));
    requests.back().tenant = "tenant " + std::to_string(i % 3);
    if (i % 4 == 1) requests.back().request.sampling = {.temperature = 0.8f, .top_k = 40, .seed = i};
  }
  const std::vector<std::vector<TokenId>> expected = Alone(requests);
  const Served served = Serve(SmallRig());
  const uint64_t before = served.service->Stats().host_used_bytes;
  std::vector<Heard> heard(requests.size());
  std::vector<std::thread> threads;
  std::atomic<size_t> next = 0;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < requests.size(); i = next++) {
        const std::unique_ptr<Answer> answer = MustSubmit(*served.service, requests[i]);
        heard[i] = ReadAll(*answer);
        EXPECT_FALSE(answer->Next(kLong)) << "after the end there is nothing, at once";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(heard[i].ids, expected[i]) << "request " << i;
    EXPECT_EQ(heard[i].last.reason, FinishReason::kLength);
    EXPECT_EQ(heard[i].last.usage.prompt_tokens, static_cast<int>(requests[i].request.prompt.size()));
    EXPECT_EQ(heard[i].last.usage.generated_tokens, requests[i].request.max_tokens);
  }
  const ServiceStats stats = served.service->Stats();
  EXPECT_EQ(stats.requests, requests.size());
  EXPECT_EQ(stats.finished, requests.size());
  EXPECT_EQ(stats.host_used_bytes, before) << "every block was given back";
}

// Waits for what the service's thread is about to do; false: it did not within a minute.
bool Eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 6000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

// The next event of that kind; those before it are dropped.
std::optional<AnswerEvent> Until(Answer& answer, AnswerEvent::Kind kind) {
  for (;;) {
    std::optional<AnswerEvent> event = answer.Next(kLong);
    if (!event || event->kind == kind) return event;
  }
}

TEST(ServiceTest, CancellingFreesEveryBlockWithinOneStep) {
  const Served served = Serve(SmallRig());
  const uint64_t before = served.service->Stats().host_used_bytes;
  for (const AnswerEvent::Kind phase : {AnswerEvent::Kind::kProgress, AnswerEvent::Kind::kToken}) {
    const std::unique_ptr<Answer> answer = MustSubmit(*served.service, Ask(1200, 800, 1));
    ASSERT_TRUE(Until(*answer, phase));
    EXPECT_GT(served.service->Stats().host_used_bytes, before);
    answer->Cancel();
    answer->Cancel();
    const Heard heard = ReadAll(*answer);
    EXPECT_EQ(heard.last.reason, FinishReason::kCancelled);
    EXPECT_TRUE(heard.last.error.ok());
    EXPECT_LT(heard.last.usage.generated_tokens, 800);
    EXPECT_EQ(served.service->Stats().host_used_bytes, before);
  }
  EXPECT_EQ(served.service->Stats().cancelled, 2u);
}

TEST(ServiceTest, AnAnswerThatIsLetGoIsCancelled) {
  const Served served = Serve(SmallRig());
  const uint64_t before = served.service->Stats().host_used_bytes;
  std::unique_ptr<Answer> answer = MustSubmit(*served.service, Ask(1200, 800, 1));
  ASSERT_TRUE(Until(*answer, AnswerEvent::Kind::kProgress));
  answer.reset();
  EXPECT_TRUE(Eventually([&] { return served.service->Stats().cancelled == 1; }));
  EXPECT_EQ(served.service->Stats().host_used_bytes, before);
}

RigOptions InSeats() {
  RigOptions options = SmallRig();
  options.engine.decode.plan = DecodePlan::kStep;
  options.engine.decode.seats = 2;
  options.engine.decode.max_tokens = 1000;
  return options;
}

// Planned on the host, and in seats, which a paused sequence leaves.
class SlowReaderTest : public testing::TestWithParam<bool> {};

TEST_P(SlowReaderTest, PausesItsRequestAndGetsTheSameTokens) {
  std::vector<ServiceRequest> requests = {Ask(150, 200, 1), Ask(90, 40, 2)};
  requests[0].request.sampling = {.temperature = 0.9f, .seed = 3};
  const std::vector<std::vector<TokenId>> expected = Alone(requests);
  constexpr int kUnread = 8;
  const Served served = Serve(GetParam() ? InSeats() : SmallRig(), {.scheduler = {.max_unread_events = kUnread}});
  const std::unique_ptr<Answer> slow = MustSubmit(*served.service, requests[0]);
  std::vector<TokenId> ids;
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(Eventually([&] { return served.service->Stats().paused == 1; }));
    EXPECT_LE(served.service->Stats().generated_tokens, ids.size() + kUnread + (round > 0 ? 40 : 0));
    if (round == 0) {
      EXPECT_EQ(ReadAll(*MustSubmit(*served.service, requests[1])).ids, expected[1]) << "others go on";
    }
    for (int i = 0; i < kUnread; ++i) {
      const std::optional<AnswerEvent> event = slow->Next(kLong);
      ASSERT_TRUE(event);
      if (event->kind == AnswerEvent::Kind::kToken) ids.push_back(event->token);
    }
  }
  const Heard rest = ReadAll(*slow);
  ids.insert(ids.end(), rest.ids.begin(), rest.ids.end());
  EXPECT_EQ(ids, expected[0]);
  EXPECT_EQ(rest.last.reason, FinishReason::kLength);
}

INSTANTIATE_TEST_SUITE_P(Plans, SlowReaderTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Seats" : "Host"; });

TEST(ServiceTest, PromptLogprobsOfASlowReaderWaitForIt) {
  const Served served = Serve(SmallRig(), {.scheduler = {.max_unread_bytes = 10000}});
  ServiceRequest request = Ask(900, 0, 4);
  request.prompt_logprobs = 5;
  const std::unique_ptr<Answer> answer = MustSubmit(*served.service, request);
  ASSERT_TRUE(Eventually([&] { return served.service->Stats().paused == 1; }));
  size_t positions = 0;
  const Heard heard = ReadAll(*answer);
  for (const AnswerEvent& event : heard.events) positions += event.prompt_logprobs.size();
  EXPECT_EQ(positions, 900u);
  EXPECT_EQ(heard.last.reason, FinishReason::kLength);
}

TEST(ServiceTest, AReaderThatTakesNothingIsGivenUp) {
  const Served served = Serve(SmallRig(), {.scheduler = {.max_unread_events = 4, .stalled_seconds = 0.2}});
  const std::unique_ptr<Answer> answer = MustSubmit(*served.service, Ask(30, 500, 1));
  ASSERT_TRUE(Eventually([&] { return served.service->Stats().cancelled == 1; }));
  const Heard heard = ReadAll(*answer);
  EXPECT_EQ(heard.last.reason, FinishReason::kCancelled);
  EXPECT_EQ(heard.last.error.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(heard.ids.size(), static_cast<size_t>(heard.last.usage.generated_tokens)) << "what came is still there";
}

TEST(ServiceTest, DeadlinesEndWhatRunsAndWhatWaits) {
  const Served served = Serve(SmallRig(), {.scheduler = {.max_running = 1, .max_unread_events = 4}});
  ServiceRequest request = Ask(30, 500, 1);
  request.deadline = milliseconds(1500);
  const std::unique_ptr<Answer> runs = MustSubmit(*served.service, request);
  ASSERT_TRUE(Until(*runs, AnswerEvent::Kind::kToken));
  request.deadline = milliseconds(50);
  const std::unique_ptr<Answer> waits = MustSubmit(*served.service, request);
  const Heard waited = ReadAll(*waits), ran = ReadAll(*runs);
  ASSERT_EQ(waited.events.size(), 2u);
  EXPECT_EQ(waited.events[0].kind, AnswerEvent::Kind::kQueued);
  EXPECT_EQ(waited.events[0].queue_place, 1);
  for (const Heard& heard : {waited, ran}) {
    if (heard.last.reason == FinishReason::kLength) continue;  // all 500 within its time: nothing to end
    EXPECT_EQ(heard.last.reason, FinishReason::kCancelled);
    EXPECT_EQ(heard.last.error.code(), StatusCode::kDeadlineExceeded);
  }
  EXPECT_EQ(waited.last.reason, FinishReason::kCancelled);
}

TEST(ServiceTest, DrainLetsRequestsEndAndThenEndsThem) {
  const Served served = Serve(SmallRig(), {.scheduler = {.max_unread_events = 50}});
  const uint64_t before = served.service->Stats().host_used_bytes;
  const std::unique_ptr<Answer> ends = MustSubmit(*served.service, Ask(100, 20, 1));
  const std::unique_ptr<Answer> hangs = MustSubmit(*served.service, Ask(100, 500, 2));
  ASSERT_TRUE(Eventually([&] { return served.service->Stats().paused == 1; }));
  served.service->Drain(milliseconds(300));
  EXPECT_EQ(ReadAll(*ends).last.reason, FinishReason::kLength);
  const Heard heard = ReadAll(*hangs);
  EXPECT_EQ(heard.last.reason, FinishReason::kCancelled);
  EXPECT_EQ(heard.last.error.code(), StatusCode::kUnavailable);
  Refusal refusal;
  EXPECT_EQ(served.service->Submit(Ask(5, 5, 3), &refusal), nullptr);
  EXPECT_EQ(refusal.cause, Refusal::Cause::kDraining);
  EXPECT_EQ(refusal.status.code(), StatusCode::kUnavailable);
  EXPECT_TRUE(served.service->Stats().draining);
  EXPECT_EQ(served.service->Stats().host_used_bytes, before);
}

TEST(ServiceTest, DestroyedWhileItWorksItLeavesAnEndInEveryAnswer) {
  Served served = Serve(SmallRig(), {.scheduler = {.max_running = 2}});
  std::vector<std::unique_ptr<Answer>> answers;
  for (uint64_t i = 0; i < 5; ++i) answers.push_back(MustSubmit(*served.service, Ask(600, 400, i)));
  ASSERT_TRUE(Until(*answers[0], AnswerEvent::Kind::kProgress));
  std::thread reader([&] { EXPECT_TRUE(ReadAll(*answers[0]).ended); });
  served.service.reset();
  reader.join();
  for (size_t i = 1; i < answers.size(); ++i) {
    const Heard heard = ReadAll(*answers[i]);
    EXPECT_EQ(heard.last.reason, FinishReason::kCancelled);
    EXPECT_EQ(heard.last.error.code(), StatusCode::kUnavailable);
    answers[i]->Cancel();
  }
}

TEST(ServiceTest, RefusesWithACauseAndASentence) {
  RigOptions rig = SmallRig();
  {
    const Rig probe = MakeRig(SmallRig());
    const kv::SequenceNeeds needs = probe.model->SequenceNeeds(500);
    rig.engine.host_budget_bytes = probe.engine->store().SmallestBudget({&needs, 1});
  }
  ServiceOptions options;
  options.scheduler = {.max_running = 1, .max_queued = 1, .max_unread_events = 2};
  options.scheduler.tenants["poor"] = {.requests_per_minute = 1};
  const Served served = Serve(std::move(rig), std::move(options));
  const auto refused = [&](const ServiceRequest& request) {
    Refusal refusal;
    EXPECT_EQ(served.service->Submit(request, &refusal), nullptr);
    return refusal;
  };
  EXPECT_EQ(refused(Ask(0, 5, 1)).status.message(), "the prompt has no tokens");
  EXPECT_EQ(refused(Ask(2000, 100, 1)).cause, Refusal::Cause::kBadRequest) << "more than the model's positions";
  ServiceRequest bias = Ask(5, 5, 1);
  bias.request.sampling.logit_bias = {{257, 1}};
  EXPECT_EQ(refused(bias).status.message(), "logit_bias names token 257, the vocabulary has 257");
  const Refusal large = refused(Ask(500, 17, 1));
  EXPECT_EQ(large.cause, Refusal::Cause::kTooLarge);
  EXPECT_EQ(large.status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(large.status.message()), testing::HasSubstr("517 tokens need at least"));

  ServiceRequest poor = Ask(5, 5, 1);
  poor.tenant = "poor";
  ReadAll(*MustSubmit(*served.service, poor));
  const Refusal limited = refused(poor);
  EXPECT_EQ(limited.cause, Refusal::Cause::kRateLimit);
  EXPECT_GT(limited.retry_after->count(), 30000);
  const std::unique_ptr<Answer> runs = MustSubmit(*served.service, Ask(100, 400, 1));
  ASSERT_TRUE(Eventually([&] { return served.service->Stats().paused == 1; }));
  const std::unique_ptr<Answer> waits = MustSubmit(*served.service, Ask(5, 5, 1));
  EXPECT_EQ(refused(Ask(5, 5, 1)).cause, Refusal::Cause::kQueueFull);
  EXPECT_EQ(served.service->Stats().refused, 6u);
  runs->Cancel();
  EXPECT_EQ(ReadAll(*waits).last.reason, FinishReason::kLength);
}

// The tokens' logprobs are those that scoring the same text as a prompt gives.
TEST(ServiceTest, LogprobsOfAnAnswerAreThoseOfItsTextAsAPrompt) {
  const Served served = Serve(SmallRig());
  ServiceRequest request = Ask(70, 12, 9);
  request.logprobs = 3;
  request.request.sampling = {.temperature = 1.5f, .logit_bias = {{5, 20}}, .seed = 2};
  const Heard heard = ReadAll(*MustSubmit(*served.service, request));
  ASSERT_EQ(heard.ids.size(), 12u);
  ServiceRequest scored = Ask(70, 0, 9);
  scored.request.prompt.insert(scored.request.prompt.end(), heard.ids.begin(), heard.ids.end());
  scored.prompt_logprobs = 2;
  const Heard prompt = ReadAll(*MustSubmit(*served.service, scored));
  std::vector<PositionLogprobs> positions;
  for (const AnswerEvent& event : prompt.events) {
    positions.insert(positions.end(), event.prompt_logprobs.begin(), event.prompt_logprobs.end());
  }
  ASSERT_EQ(positions.size(), 82u);
  EXPECT_TRUE(std::isnan(positions[0].token.logprob));
  EXPECT_TRUE(positions[0].top.empty());
  for (size_t i = 0; i < positions.size(); ++i) EXPECT_EQ(positions[i].token.id, scored.request.prompt[i]);
  size_t i = 70;
  for (const AnswerEvent& event : heard.events) {
    if (event.kind != AnswerEvent::Kind::kToken) continue;
    ASSERT_TRUE(event.logprobs);
    EXPECT_EQ(event.logprobs->token.id, event.token);
    EXPECT_NEAR(event.logprobs->token.logprob, positions[i].token.logprob, 2e-3);
    ASSERT_EQ(event.logprobs->top.size(), 3u);
    ASSERT_EQ(positions[i].top.size(), 2u);
    EXPECT_NEAR(event.logprobs->top[0].logprob, positions[i].top[0].logprob, 2e-3);
    EXPECT_GE(event.logprobs->top[0].logprob, event.logprobs->top[1].logprob);
    EXPECT_GE(event.logprobs->top[0].logprob, event.logprobs->token.logprob);
    ++i;
  }
}

// What the scheduler builds on: a step reads one chunk of the prompt it is told, and gives everybody else a token.
TEST(EngineStepTest, ReadsOneChunkAndAnswersEverybodyWhoIsNotPaused) {
  const Rig rig = MakeRig(SmallRig());
  Engine& engine = *rig.engine;
  const auto step = [&](RequestId prompt) {
    std::vector<Event> events;
    EXPECT_TRUE(engine.Step(prompt, &events).ok());
    std::vector<std::pair<RequestId, Event::Kind>> told;
    for (const Event& event : events) told.emplace_back(event.request, event.kind);
    return told;
  };
  using testing::ElementsAre;
  using testing::IsEmpty;
  using testing::Pair;
  using enum Event::Kind;
  const RequestId a = *engine.Submit(Ask(10, 100, 1).request), b = *engine.Submit(Ask(10, 100, 2).request);
  const RequestId book = *engine.Submit(Ask(300, 5, 3).request);
  EXPECT_THAT(step(b), ElementsAre(Pair(b, kPromptProgress), Pair(b, kToken)));
  EXPECT_THAT(step(RequestId()), ElementsAre(Pair(b, kToken)));
  EXPECT_THAT(step(a), ElementsAre(Pair(b, kToken), Pair(a, kPromptProgress), Pair(a, kToken)));
  EXPECT_THAT(step(book), ElementsAre(Pair(a, kToken), Pair(b, kToken), Pair(book, kPromptProgress)));
  engine.SetPaused(a, true);
  EXPECT_THAT(step(book), ElementsAre(Pair(b, kToken), Pair(book, kPromptProgress)));
  engine.SetPaused(b, true);
  engine.SetPaused(book, true);
  EXPECT_THAT(step(RequestId()), IsEmpty());
  std::vector<Event> events;
  EXPECT_TRUE(engine.Step(&events).ok());
  EXPECT_TRUE(events.empty()) << "nor when nobody chooses";
  EXPECT_TRUE(engine.HasWork());
  engine.Cancel(b);
  EXPECT_THAT(step(RequestId()), ElementsAre(Pair(b, kFinished)));
  engine.SetPaused(a, false);
  EXPECT_THAT(step(RequestId()), ElementsAre(Pair(a, kToken)));
}

// What needs the logits gets them where a device would else draw by itself.
TEST(ServiceTest, InSeatsTokensAreDrawnAndScoredAsOnTheHost) {
  const Served host = Serve(SmallRig()), seats = Serve(InSeats());
  std::vector<std::vector<TokenId>> answers;
  for (uint64_t i = 0; i < 15; ++i) {
    ServiceRequest request = Ask(100, 40, i / 3);
    if (i % 3 == 0) request.logprobs = 2;
    if (i % 3 == 1) request.request.sampling.logit_bias = {{9, 100}};
    if (i % 3 == 2) request.request.sampling.presence_penalty = request.request.sampling.frequency_penalty = 2;
    const Heard expected = ReadAll(*MustSubmit(*host.service, request));
    const Heard heard = ReadAll(*MustSubmit(*seats.service, request));
    EXPECT_EQ(heard.ids, expected.ids);
    answers.push_back(heard.ids);
    for (const AnswerEvent& event : heard.events) {
      if (event.kind != AnswerEvent::Kind::kToken) continue;
      ASSERT_EQ(event.logprobs.has_value(), request.logprobs >= 0);
      if (!event.logprobs) continue;
      EXPECT_EQ(event.logprobs->token.id, event.token);
      EXPECT_EQ(event.logprobs->top[0].id, event.token) << "greedy";
    }
  }
  int biased = 0, penalized = 0;
  for (size_t i = 0; i < answers.size(); i += 3) {
    biased += answers[i + 1] != answers[i] ? 1 : 0;
    penalized += answers[i + 2] != answers[i] ? 1 : 0;
  }
  EXPECT_EQ(biased, 5);
  EXPECT_GT(penalized, 0);
}

TEST(ServiceTest, PenaltiesLeaveTheFirstTokenAloneAndChangeLaterOnes) {
  const Served served = Serve(SmallRig());
  int in_prompt = 0, changed = 0;
  for (uint64_t i = 0; i < 10; ++i) {
    ServiceRequest request = Ask(300, 20, i);
    const Heard plain = ReadAll(*MustSubmit(*served.service, request));
    request.request.sampling.presence_penalty = 2;
    request.request.sampling.frequency_penalty = 2;
    const Heard heard = ReadAll(*MustSubmit(*served.service, request));
    ASSERT_EQ(heard.ids[0], plain.ids[0]) << "a token of the prompt was counted";
    const std::vector<TokenId>& prompt = request.request.prompt;
    in_prompt += std::count(prompt.begin(), prompt.end(), plain.ids[0]) > 0 ? 1 : 0;
    changed += heard.ids != plain.ids ? 1 : 0;
  }
  EXPECT_GT(in_prompt, 3);
  EXPECT_GT(changed, 3);
}

TEST(ServiceTest, MapsWhatIsThere) {
  const Served served = Serve(SmallRig(), {.scheduler = {.max_unread_events = 4}});
  const std::unique_ptr<Answer> answer = MustSubmit(*served.service, Ask(100, 400, 1));
  ASSERT_TRUE(Eventually([&] { return served.service->Stats().paused == 1; }));
  const std::optional<CacheMap> map = served.service->Map(answer->id());
  ASSERT_TRUE(map);
  EXPECT_EQ(map->answer_id, answer->id());
  EXPECT_GE(map->tokens, 100);
  EXPECT_EQ(map->block_size, 16);
  EXPECT_EQ(map->layers, 3);
  EXPECT_EQ(map->kv_heads, 1);
  answer->Cancel();
  ReadAll(*answer);
  EXPECT_FALSE(served.service->Map(answer->id()));
  EXPECT_FALSE(served.service->Map(77));
}

// Memory that the budget allows and a device does not have: of sequences' own size, when told.
class StingyBackend final : public ops::HostBackend {
 public:
  std::string_view name() const override { return "stingy"; }
  std::string Describe() const override { return "gives no memory of one size when told"; }
  const ops::OpTable& table() const override { return reference_->table(); }
  int threads() const override { return 1; }
  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override {
    if (bytes == refused_bytes && refusing) return ResourceExhausted("no memory for {} bytes", bytes);
    return HostBackend::Allocate(bytes, kind);
  }
  std::atomic<bool> refusing = false;
  size_t refused_bytes = 0;

 private:
  std::unique_ptr<ops::Backend> reference_ = ops::reference::MakeReferenceBackend();
};

TEST(ServiceTest, WhatFindsNoMemoryWaitsForOthersAndFailsAlone) {
  const auto backend = std::make_shared<StingyBackend>();
  const std::string directory = SmallRig().model;
  model::LoadOptions load;
  load.backend = backend.get();
  const auto model = model::Model::Open(directory, load).value();
  backend->refused_bytes = model->SequenceNeeds(77).side_bytes;
  EngineOptions options;
  options.prefill_chunk = 64;
  auto engine = Engine::Create(model, nullptr, std::move(options), backend.get()).value();
  const std::unique_ptr<Service> service = Service::Create(std::move(engine), {.scheduler = {.max_unread_events = 4}});
  const std::unique_ptr<Answer> first = MustSubmit(*service, Ask(40, 100, 1));
  ASSERT_TRUE(Eventually([&] { return service->Stats().paused == 1; }));
  backend->refusing = true;
  const std::unique_ptr<Answer> second = MustSubmit(*service, Ask(70, 7, 2));
  std::optional<AnswerEvent> event = second->Next(kLong);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, AnswerEvent::Kind::kQueued);
  backend->refusing = false;
  first->Cancel();
  EXPECT_EQ(ReadAll(*second).last.reason, FinishReason::kLength);
  backend->refusing = true;
  const Heard alone = ReadAll(*MustSubmit(*service, Ask(70, 7, 2)));
  EXPECT_EQ(alone.last.reason, FinishReason::kError);
  EXPECT_EQ(alone.last.error.code(), StatusCode::kResourceExhausted);
  backend->refusing = false;
  EXPECT_EQ(ReadAll(*MustSubmit(*service, Ask(70, 7, 2))).last.reason, FinishReason::kLength);
}

}  // namespace
}  // namespace nosa::engine

// Requests of many threads, to one engine: queues, admission, fairness, limits, deadlines, back-pressure, drain.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/cache_map.h"
#include "engine/engine.h"
#include "engine/scheduler.h"

namespace nosa::engine {

struct ServiceOptions {
  SchedulerOptions scheduler;
};

struct ServiceRequest {
  Request request = {};     // keep_open, record_*, prompt_logits, logprobs, fingerprint are the service's own
  std::string tenant = {};  // who asks ("" without keys): unit of fairness, limits and of prefix reuse
  // From Submit; then it ends as kCancelled, with kDeadlineExceeded.
  std::optional<std::chrono::milliseconds> deadline = {};
  int logprobs = -1;         // top n of every generated token; 0: only the token's own; -1: none
  int prompt_logprobs = -1;  // the same for every prompt token
};

struct Usage {
  int prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
};

// What a reader is told, in order: any kQueued/kProgress, the prompt's logprobs, tokens, one kFinished. Of kQueued and
// kProgress that were not read, the last is kept.
struct AnswerEvent {
  enum class Kind : uint8_t { kQueued, kProgress, kPromptLogprobs, kToken, kFinished };
  Kind kind = Kind::kToken;
  int queue_place = 0;                                 // kQueued: waiting requests that came before it, and itself
  int prompt_done = 0, prompt_tokens = 0;              // kProgress
  std::vector<PositionLogprobs> prompt_logprobs = {};  // kPromptLogprobs: the next positions
  TokenId token = -1;                                  // kToken
  std::string text = {};                               // kToken, kFinished: what became certain, valid UTF-8
  std::optional<PositionLogprobs> logprobs = {};       // kToken
  FinishReason reason = FinishReason::kNone;           // kFinished
  // kFinished with kError; with kCancelled where the service ended it: kDeadlineExceeded (its own deadline, or its
  // reader took nothing for too long), kUnavailable (the service closes).
  Status error = {};
  Usage usage = {};  // kFinished; cached_tokens also with kProgress
};

// One request's reader end. Any thread, one at a time. Destroying it cancels the request. May outlive the service,
// which leaves a kFinished in it.
class Answer {
 public:
  virtual ~Answer() = default;
  virtual uint64_t id() const = 0;  // unique in the service's life, not 0
  // The next event, waiting at most `timeout`; nothing: it passed. After kFinished: nothing, at once.
  virtual std::optional<AnswerEvent> Next(std::chrono::milliseconds timeout) = 0;
  // Idempotent. The last event is kFinished with kCancelled; its blocks are free within one step.
  virtual void Cancel() = 0;
};

struct ServiceStats {
  EngineStats engine;                                      // at most a tenth of a second old
  int queued = 0, reading = 0, answering = 0, paused = 0;  // paused, of reading and answering: their readers are slow
  uint64_t host_used_bytes = 0, host_budget_bytes = 0, cold_bytes = 0;
  // Taken; of these, ended as they should, with kError, with kCancelled. Refused ones are not among them.
  uint64_t requests = 0, finished = 0, failed = 0, cancelled = 0, refused = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;  // of requests that were admitted
  double tokens_per_second = 0;                                         // generated, over the last seconds
  bool draining = false;
  uint64_t cold_budget_bytes = 0;  // 0: there is no cold tier
};

enum class AnswerPhase : uint8_t { kQueued, kReading, kAnswering, kPaused };
// "queued", "reading", "answering", "paused".
std::string_view AnswerPhaseName(AnswerPhase phase);

// How far one request is.
struct AnswerInfo {
  uint64_t id = 0;  // Answer::id
  std::string tenant;
  AnswerPhase phase = AnswerPhase::kQueued;
  int prompt_tokens = 0, prompt_done = 0, generated_tokens = 0;
  double tokens_per_second = 0;  // since its first token
};

// The engine's thread belongs to it. All functions are for any thread.
class Service {
 public:
  // The engine must be idle.
  static std::unique_ptr<Service> Create(std::unique_ptr<Engine> engine, ServiceOptions options);
  // Cancels what is left.
  virtual ~Service() = default;
  // Null with *refusal filled in.
  virtual std::unique_ptr<Answer> Submit(ServiceRequest request, Refusal* refusal) = 0;
  virtual ServiceStats Stats() const = 0;
  // Of all requests that have not ended, in the order in which they came.
  virtual std::vector<AnswerInfo> Answers() const = 0;
  // Where the blocks of a request are now, none while it waits; nothing when it has ended. Waits for at most one step.
  virtual std::optional<CacheMap> Map(uint64_t answer_id) = 0;
  // Takes no more requests; returns when all ended, or after `grace`, when the rest was cancelled.
  virtual void Drain(std::chrono::milliseconds grace) = 0;
};

}  // namespace nosa::engine

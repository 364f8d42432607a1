// Which request goes when: queues that are fair to tenants, admission by bytes, limits, deadlines, back-pressure. Pure
// decisions over plain data: it reads no clock, starts no thread and knows no engine, so the same calls with the same
// times give the same decisions, and a simulation can check them.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/queue_pace.h"
#include "kv/store.h"

namespace nosa::engine {

struct TenantLimits {
  int max_requests = 0;  // waiting and running at once; 0: no bound
  // Buckets that hold what a minute brings; 0: no bound. Tokens: of the prompt, and max_tokens until it is known how
  // many came. A request of more than a minute's tokens is taken when the bucket is full.
  double requests_per_minute = 0;
  double tokens_per_minute = 0;
  double weight = 1;  // > 0; share of the engine beside other tenants
};

struct SchedulerOptions {
  int max_running = 256;     // sequences open at once, if the tiers have room; > 0
  int max_queued = 1024;     // requests that wait, of all tenants; >= 0: with 0 only what can begin at once is taken
  TenantLimits limits = {};  // of each tenant that is not in `tenants`
  std::map<std::string, TenantLimits> tenants = {};
  // A request takes no more steps while its reader has this many tokens' events or bytes before it; it goes on when
  // half of both is read. Bounds what the server holds for slow readers.
  int max_unread_events = 256;
  uint64_t max_unread_bytes = 1 << 20;
  // A reader that takes nothing for so long while its request is paused is given up: others wait for the blocks.
  double stalled_seconds = 60;
  // Mean time between two tokens of an answer that is kept to while prompts are read; 0: as it comes, with a chunk in
  // every step. A chunk cannot be shorter, as its size is part of an answer's bits, so steps without one follow it. At
  // least half of the time stays with the prompts.
  double step_ms_target = 100;
  // Requests that may be admitted before one that would be next but does not fit yet; then room is kept for it.
  int max_overtakes = 16;
};

// Why a request was not taken.
struct Refusal {
  enum class Cause : uint8_t { kBadRequest, kTooLarge, kRateLimit, kConcurrency, kQueueFull, kDraining };
  // kInvalidArgument; kResourceExhausted: can never fit (says what would); kUnavailable: full, limited or draining.
  Status status;
  Cause cause = Cause::kBadRequest;
  // When it is worth asking again. kRateLimit: when the bucket will hold enough; kQueueFull: as fast as the queue moves
  // (queue_pace.h).
  std::optional<std::chrono::milliseconds> retry_after;
};

// What the scheduler knows of a request. Times are seconds of any clock that never goes back.
struct ScheduledRequest {
  uint64_t id = 0;  // never used before; 0 is no request
  std::string tenant;
  int prompt_tokens = 0;
  int max_tokens = 0;
  kv::TierBytes bytes;  // Engine::Charge
  std::optional<double> deadline = {};
};

// Why the scheduler ends a request.
enum class EndCause : uint8_t { kCancelled, kDeadline, kStalledReader, kDrained };

// What is to be done next, in this order.
struct StepPlan {
  struct End {
    uint64_t id = 0;
    EndCause cause = EndCause::kCancelled;
    bool running = false;  // the engine is to cancel it, and the step tells when it has; else it has ended now
  };
  std::vector<End> end;
  std::vector<uint64_t> admit;
  std::vector<uint64_t> pause, resume;
  uint64_t prompt = 0;  // whose prompt is read on in the step; 0: nobody's
  bool step = false;    // there is something for a step to do
  // When to plan again although nothing has happened.
  double wake_at = std::numeric_limits<double>::infinity();
};

struct SchedulerCounts {
  int queued = 0, reading = 0, answering = 0, paused = 0;
  kv::TierBytes reserved;
  size_t tenants = 0;  // that it remembers
};

// Not thread-safe.
class Scheduler {
 public:
  // `room`: what all open sequences may be charged (KvStore::Room).
  Scheduler(SchedulerOptions options, kv::TierBytes room);

  // Queues it, or says why not.
  std::optional<Refusal> Submit(const ScheduledRequest& request, double now);
  // Ends it with the next plan. Nothing when it has ended or is about to.
  void Cancel(uint64_t id);
  // No more requests are taken; at `until` those that are left end.
  void Drain(double until);
  // How much of its events its reader has yet to take. `now`: of a read.
  void SetUnread(uint64_t id, int events, uint64_t bytes, double now);

  // Decides what is done next. Every admitted request counts as running until Finished.
  StepPlan Plan(double now);
  // What came of it. AdmissionFailed: the engine had no room after all. True: it is first in its queue again, and
  // nothing is admitted until a request has finished; false: there is none to wait for, so it has ended.
  bool AdmissionFailed(uint64_t id);
  void PromptRead(uint64_t id, int prompt_done);
  void Generated(uint64_t id);
  // It has ended, and the engine holds nothing of it any more.
  void Finished(uint64_t id);
  void StepTook(double seconds, bool read_prompt, bool answered);

  SchedulerCounts counts() const;
  bool draining() const { return drain_until_.has_value(); }
  bool Waits(uint64_t id) const;
  // Decode-only steps between two that read a chunk, from how long steps took.
  int StepsBetweenChunks() const;

 private:
  enum class State : uint8_t { kQueued, kReading, kAnswering, kEnding };
  struct Item {
    ScheduledRequest request;
    State state = State::kQueued;
    bool cancelled = false;
    bool paused = false;
    double last_read = 0;  // or when it was paused
    int unread_events = 0;
    uint64_t unread_bytes = 0;
    int prompt_done = 0;
    int generated = 0;
    int overtaken = 0;
    double reading_base = 0;  // PromptToRead
  };
  struct Bucket {
    double level = 0, at = 0;
  };
  struct Tenant {
    std::deque<uint64_t> queue;
    int live = 0;        // waiting and running
    double service = 0;  // cost of what was done for it, over its weight
    Bucket requests, tokens;
    bool known = false;  // the buckets have begun
  };

  const TenantLimits& LimitsOf(const std::string& tenant) const;
  Tenant& TenantOf(const std::string& name, double now);
  std::optional<Refusal> CheckLimits(const std::string& name, Tenant* tenant, int tokens, double now);
  void Charge(const Item& item, double cost);
  std::optional<EndCause> WhyEnd(const Item& item, double now) const;
  void PlanEnds(double now, StepPlan* plan);
  void PlanAdmissions(double now, StepPlan* plan);
  uint64_t NextToAdmit();
  void Admit(Item* item);
  void PlanPauses(double now, StepPlan* plan);
  uint64_t PromptToRead() const;
  void PlanStep(StepPlan* plan);
  double WakeAt() const;
  void LeaveQueue(const Item& item);
  void Forget(uint64_t id);
  void ForgetIdleTenants(double now);

  SchedulerOptions options_;
  kv::TierBytes room_, reserved_;
  std::map<uint64_t, Item> items_;
  std::map<std::string, Tenant> tenants_;
  int queued_ = 0, running_ = 0;
  double last_service_ = 0;  // of the tenant whose queue emptied last
  double prompt_tokens_read_ = 0;
  bool hold_admission_ = false;
  QueuePace pace_;
  double chunk_seconds_ = 0, decode_seconds_ = 0;  // running means
  int steps_since_chunk_ = 0;
  std::optional<double> drain_until_;
};

}  // namespace nosa::engine

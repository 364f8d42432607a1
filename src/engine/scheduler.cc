#include "engine/scheduler.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "base/check.h"

namespace nosa::engine {
namespace {

// Service is counted in prompt tokens. A generated token takes a step of its own, a prompt token a share of a chunk's:
// counted double, as in Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024), whose virtual token
// counters the queues here are.
constexpr double kGeneratedCost = 2;
// A prompt gains on later ones half a token for each prompt token that is read (PromptToRead).
constexpr double kAgeing = 0.5;
// Of a new measurement in the running means: steps of the last second or so count.
constexpr double kNewest = 0.2;
constexpr int kMostStepsBetweenChunks = 64;
// For who has too many requests open: one of its own must finish first, which it will see.
constexpr std::chrono::milliseconds kRetrySoon(1000);
// Tenants without requests are looked through for ones to forget when there are so many more than with.
constexpr size_t kIdleTenants = 256;

Refusal Refuse(Refusal::Cause cause, Status status, std::optional<std::chrono::milliseconds> retry_after = {}) {
  return {.status = std::move(status), .cause = cause, .retry_after = retry_after};
}

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options, kv::TierBytes room) : options_(std::move(options)), room_(room) {
  NOSA_CHECK(options_.max_running > 0 && options_.max_queued >= 0, "{} running, {} queued", options_.max_running,
             options_.max_queued);
  NOSA_CHECK(options_.max_unread_events > 0 && options_.max_unread_bytes > 0, "a reader is never quick enough");
  NOSA_CHECK(options_.limits.weight > 0, "a weight of {}", options_.limits.weight);
  for (const auto& [name, limits] : options_.tenants) NOSA_CHECK(limits.weight > 0, "a weight of {}", limits.weight);
}

const TenantLimits& Scheduler::LimitsOf(const std::string& tenant) const {
  const auto own = options_.tenants.find(tenant);
  return own == options_.tenants.end() ? options_.limits : own->second;
}

Scheduler::Tenant& Scheduler::TenantOf(const std::string& name, double now) {
  if (tenants_.size() > 2 * items_.size() + kIdleTenants) ForgetIdleTenants(now);
  Tenant& tenant = tenants_[name];
  const TenantLimits& limits = LimitsOf(name);
  const auto refill = [&](Bucket* bucket, double per_minute) {
    const double more = tenant.known ? (now - bucket->at) * per_minute / 60 : per_minute;
    *bucket = {std::min(per_minute, bucket->level + more), now};
  };
  refill(&tenant.requests, limits.requests_per_minute);
  refill(&tenant.tokens, limits.tokens_per_minute);
  tenant.known = true;
  return tenant;
}

std::optional<Refusal> Scheduler::CheckLimits(const std::string& name, Tenant* tenant, int tokens, double now) {
  const TenantLimits& limits = LimitsOf(name);
  if (limits.max_requests > 0 && tenant->live >= limits.max_requests) {
    return Refuse(Refusal::Cause::kConcurrency,
                  Unavailable("{} requests at once are allowed, {} wait or run", limits.max_requests, tenant->live),
                  kRetrySoon);
  }
  const double per_request = limits.requests_per_minute, per_token = limits.tokens_per_minute;
  if (per_request > 0 && tenant->requests.level < std::min(1.0, per_request)) {
    const double wait = (std::min(1.0, per_request) - tenant->requests.level) * 60 / per_request;
    return Refuse(Refusal::Cause::kRateLimit, Unavailable("{} requests a minute are allowed", per_request),
                  Milliseconds(wait));
  }
  const double wanted = std::min<double>(tokens, per_token);
  if (per_token > 0 && tenant->tokens.level < wanted) {
    return Refuse(Refusal::Cause::kRateLimit,
                  Unavailable("{} tokens a minute are allowed, {} are left and the request may take {}", per_token,
                              std::floor(std::max(0.0, tenant->tokens.level)), tokens),
                  Milliseconds((wanted - tenant->tokens.level) * 60 / per_token));
  }
  if (per_request > 0) tenant->requests.level -= 1;
  if (per_token > 0) tenant->tokens.level -= tokens;
  return std::nullopt;
}

std::optional<Refusal> Scheduler::Submit(const ScheduledRequest& request, double now) {
  NOSA_CHECK(request.id != 0 && !items_.contains(request.id), "request {} is submitted twice", request.id);
  if (draining()) return Refuse(Refusal::Cause::kDraining, Unavailable("the server is closing"));
  if (!request.bytes.Within(room_)) {
    return Refuse(
        Refusal::Cause::kTooLarge,
        ResourceExhausted("KV of {} tokens needs {} of RAM and {} below it, the room for KV is {} and {}",
                          request.prompt_tokens + request.max_tokens, FormatByteSize(request.bytes.host),
                          FormatByteSize(request.bytes.cold), FormatByteSize(room_.host), FormatByteSize(room_.cold)));
  }
  const bool at_once =
      queued_ == 0 && !hold_admission_ && running_ < options_.max_running && (reserved_ + request.bytes).Within(room_);
  if (queued_ >= options_.max_queued && !(at_once && options_.max_queued == 0)) {
    return Refuse(Refusal::Cause::kQueueFull, Unavailable("{} requests wait, which is the most", queued_),
                  QueueRetryAfter(queued_, pace_.SecondsPerRequest(now)));
  }
  Tenant& tenant = TenantOf(request.tenant, now);
  const int tokens = request.prompt_tokens + request.max_tokens;
  if (std::optional<Refusal> refusal = CheckLimits(request.tenant, &tenant, tokens, now)) return refusal;

  // Who comes back after a while has saved nothing up: it starts where the least served of those that wait stands.
  if (tenant.queue.empty()) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [name, other] : tenants_) {
      if (!other.queue.empty()) least = std::min(least, other.service);
    }
    tenant.service = std::max(tenant.service, std::isfinite(least) ? least : last_service_);
  }
  if (queued_ == 0) pace_.Begin(now);
  tenant.queue.push_back(request.id);
  ++tenant.live;
  ++queued_;
  items_[request.id].request = request;
  return std::nullopt;
}

void Scheduler::Cancel(uint64_t id) {
  const auto item = items_.find(id);
  if (item != items_.end()) item->second.cancelled = true;
}

void Scheduler::Drain(double until) { drain_until_ = draining() ? std::min(until, *drain_until_) : until; }

void Scheduler::SetUnread(uint64_t id, int events, uint64_t bytes, double now) {
  const auto item = items_.find(id);
  if (item == items_.end()) return;
  Item& i = item->second;
  if (events < i.unread_events || bytes < i.unread_bytes) i.last_read = now;
  i.unread_events = events;
  i.unread_bytes = bytes;
}

std::optional<EndCause> Scheduler::WhyEnd(const Item& item, double now) const {
  if (item.cancelled) return EndCause::kCancelled;
  if (item.request.deadline && *item.request.deadline <= now) return EndCause::kDeadline;
  if (item.paused && item.last_read + options_.stalled_seconds <= now) return EndCause::kStalledReader;
  if (drain_until_ && *drain_until_ <= now) return EndCause::kDrained;
  return std::nullopt;
}

void Scheduler::PlanEnds(double now, StepPlan* plan) {
  for (auto& [id, item] : items_) {
    if (item.state == State::kEnding) continue;
    const std::optional<EndCause> cause = WhyEnd(item, now);
    if (!cause) continue;
    plan->end.push_back({id, *cause, item.state != State::kQueued});
    if (item.state != State::kQueued) {
      item.state = State::kEnding;
      item.paused = false;
    }
  }
  for (const StepPlan::End& end : plan->end) {
    if (end.running) continue;
    LeaveQueue(items_.at(end.id));
    Forget(end.id);
  }
}

// The head of the queue of the tenant that was served least. When that does not fit, the next that does may overtake
// it, but only so often: then what becomes free is kept until it fits, so that a long request waits for a bounded
// number of short ones. What fits alone fits at the latest when all others have ended.
uint64_t Scheduler::NextToAdmit() {
  std::vector<std::pair<std::pair<double, uint64_t>, Item*>> heads;
  for (auto& [name, tenant] : tenants_) {
    if (tenant.queue.empty()) continue;
    heads.push_back({{tenant.service, tenant.queue.front()}, &items_.at(tenant.queue.front())});
  }
  std::sort(heads.begin(), heads.end());
  for (const auto& [order, item] : heads) {
    if (!(reserved_ + item->request.bytes).Within(room_)) {
      if (heads.front().second->overtaken >= options_.max_overtakes) return 0;
      continue;
    }
    if (item != heads.front().second) ++heads.front().second->overtaken;
    return item->request.id;
  }
  return 0;
}

void Scheduler::Admit(Item* item) {
  LeaveQueue(*item);
  item->state = State::kReading;
  item->reading_base = kAgeing * prompt_tokens_read_;
  reserved_ += item->request.bytes;
  ++running_;
  // All at once, so that the tenant's next request waits for its turn from now on; Finished gives back what was not
  // read.
  Charge(*item, item->request.prompt_tokens);
}

void Scheduler::PlanAdmissions(double now, StepPlan* plan) {
  if (hold_admission_) return;
  while (running_ < options_.max_running) {
    const uint64_t id = NextToAdmit();
    if (id == 0) return;
    Admit(&items_.at(id));
    pace_.Admitted(now);
    plan->admit.push_back(id);
  }
}

void Scheduler::PlanPauses(double now, StepPlan* plan) {
  for (auto& [id, item] : items_) {
    if (item.state != State::kReading && item.state != State::kAnswering) continue;
    const bool full =
        item.unread_events >= options_.max_unread_events || item.unread_bytes >= options_.max_unread_bytes;
    const bool read =
        item.unread_events <= options_.max_unread_events / 2 && item.unread_bytes <= options_.max_unread_bytes / 2;
    if (!item.paused && full) {
      item.paused = true;
      item.last_read = now;
      plan->pause.push_back(id);
    } else if (item.paused && read) {
      item.paused = false;
      plan->resume.push_back(id);
    }
  }
}

// The shortest rest first: it delays the others least, and a question of ten tokens does not wait for a book. What came
// earlier ages by half a token for each token read since: a prompt with n tokens left is overtaken only by those that
// are admitted while the next 2 n tokens are read, so that none starves however many short ones come.
uint64_t Scheduler::PromptToRead() const {
  uint64_t next = 0;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [id, item] : items_) {
    if (item.state != State::kReading || item.paused) continue;
    const double rest = item.request.prompt_tokens - item.prompt_done + item.reading_base;
    if (rest >= least) continue;
    next = id;
    least = rest;
  }
  return next;
}

int Scheduler::StepsBetweenChunks() const {
  const double target = options_.step_ms_target / 1000;
  if (target <= 0 || chunk_seconds_ <= 0 || decode_seconds_ <= 0) return 0;
  // A chunk and n + 1 tokens take chunk + (n + 1) decode.
  const double wanted = decode_seconds_ < target ? std::ceil(chunk_seconds_ / (target - decode_seconds_)) - 1
                                                 : static_cast<double>(kMostStepsBetweenChunks);
  const double half = std::floor(chunk_seconds_ / decode_seconds_);
  return static_cast<int>(std::clamp<double>(std::min(wanted, half), 0, kMostStepsBetweenChunks));
}

void Scheduler::PlanStep(StepPlan* plan) {
  bool answering = false;
  for (const auto& [id, item] : items_) {
    answering = answering || (item.state == State::kAnswering && !item.paused);
    plan->step = plan->step || item.state == State::kEnding;
  }
  if (!answering || steps_since_chunk_ >= StepsBetweenChunks()) plan->prompt = PromptToRead();
  plan->step = plan->step || answering || plan->prompt != 0;
}

double Scheduler::WakeAt() const {
  double at = drain_until_ && !items_.empty() ? *drain_until_ : std::numeric_limits<double>::infinity();
  for (const auto& [id, item] : items_) {
    if (item.state == State::kEnding) continue;
    if (item.request.deadline) at = std::min(at, *item.request.deadline);
    if (item.paused) at = std::min(at, item.last_read + options_.stalled_seconds);
  }
  return at;
}

StepPlan Scheduler::Plan(double now) {
  StepPlan plan;
  PlanEnds(now, &plan);
  PlanAdmissions(now, &plan);
  PlanPauses(now, &plan);
  PlanStep(&plan);
  plan.wake_at = WakeAt();
  return plan;
}

void Scheduler::Charge(const Item& item, double cost) {
  const auto tenant = tenants_.find(item.request.tenant);
  tenant->second.service += cost / LimitsOf(item.request.tenant).weight;
}

bool Scheduler::AdmissionFailed(uint64_t id) {
  Item& item = items_.at(id);
  reserved_ -= item.request.bytes;
  --running_;
  Charge(item, -item.request.prompt_tokens);
  Tenant& tenant = tenants_.at(item.request.tenant);
  if (running_ == 0) {
    hold_admission_ = false;  // others may have failed before it in the same plan
    Forget(id);
    return false;
  }
  item.state = State::kQueued;
  tenant.queue.push_front(id);
  ++queued_;
  hold_admission_ = true;
  return true;
}

void Scheduler::PromptRead(uint64_t id, int prompt_done) {
  Item& item = items_.at(id);
  prompt_tokens_read_ += prompt_done - item.prompt_done;
  item.prompt_done = prompt_done;
  if (item.state == State::kReading && prompt_done == item.request.prompt_tokens) item.state = State::kAnswering;
}

void Scheduler::Generated(uint64_t id) {
  Item& item = items_.at(id);
  ++item.generated;
  Charge(item, kGeneratedCost);
}

void Scheduler::Finished(uint64_t id) {
  const Item& item = items_.at(id);
  if (item.state == State::kQueued) {
    LeaveQueue(item);
  } else {
    reserved_ -= item.request.bytes;
    --running_;
    hold_admission_ = false;
    Charge(item, item.prompt_done - item.request.prompt_tokens);
  }
  Forget(id);
}

void Scheduler::LeaveQueue(const Item& item) {
  Tenant& tenant = tenants_.at(item.request.tenant);
  std::erase(tenant.queue, item.request.id);
  if (tenant.queue.empty()) last_service_ = tenant.service;
  --queued_;
}

void Scheduler::Forget(uint64_t id) {
  const Item& item = items_.at(id);
  Tenant& tenant = tenants_.at(item.request.tenant);
  --tenant.live;
  // What it did not use of what its bucket was charged.
  tenant.tokens.level += item.request.max_tokens - item.generated + item.request.prompt_tokens - item.prompt_done;
  items_.erase(id);
}

// A tenant that comes back is as it would be if it had been kept: its buckets are full again, and its service would be
// lifted anyway.
void Scheduler::ForgetIdleTenants(double now) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    if (!tenant.queue.empty()) least = std::min(least, tenant.service);
  }
  if (!std::isfinite(least)) least = last_service_;
  const auto full = [&](const Bucket& bucket, double per_minute) {
    return bucket.level + (now - bucket.at) * per_minute / 60 >= per_minute;
  };
  std::erase_if(tenants_, [&](const auto& entry) {
    const TenantLimits& limits = LimitsOf(entry.first);
    const Tenant& tenant = entry.second;
    return tenant.live == 0 && tenant.service <= least && full(tenant.requests, limits.requests_per_minute) &&
           full(tenant.tokens, limits.tokens_per_minute);
  });
}

void Scheduler::StepTook(double seconds, bool read_prompt, bool answered) {
  const auto mean = [&](double* mean, double value) { *mean = *mean == 0 ? value : *mean + kNewest * (value - *mean); };
  if (read_prompt) {
    mean(&chunk_seconds_, std::max(0.0, seconds - (answered ? decode_seconds_ : 0)));
    steps_since_chunk_ = 0;
  } else if (answered) {
    mean(&decode_seconds_, seconds);
    ++steps_since_chunk_;
  }
}

SchedulerCounts Scheduler::counts() const {
  SchedulerCounts counts;
  counts.queued = queued_;
  counts.reserved = reserved_;
  counts.tenants = tenants_.size();
  for (const auto& [id, item] : items_) {
    counts.paused += item.paused ? 1 : 0;
    counts.reading += item.state == State::kReading ? 1 : 0;
    counts.answering += item.state == State::kAnswering ? 1 : 0;
  }
  return counts;
}

bool Scheduler::Waits(uint64_t id) const {
  const auto item = items_.find(id);
  return item != items_.end() && item->second.state == State::kQueued;
}

}  // namespace nosa::engine

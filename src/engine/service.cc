#include "engine/service.h"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <limits>
#include <map>
#include <mutex>
#include <span>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/logprobs.h"
#include "engine/mailbox.h"

namespace nosa::engine {
namespace {

using std::chrono::milliseconds;

// Stats of the engine may cost a look into a device's memory.
constexpr double kStatsSeconds = 0.1;
// Of a wait without an end; long enough to cost nothing.
constexpr double kLongestSleep = 3600;

double Seconds(milliseconds duration) { return std::chrono::duration<double>(duration).count(); }

Status WhyEnded(EndCause cause) {
  switch (cause) {
    case EndCause::kCancelled: return Status::Ok();
    case EndCause::kDeadline: return DeadlineExceeded("the time given for the request is over");
    case EndCause::kStalledReader: return DeadlineExceeded("the answer was not read for too long");
    case EndCause::kDrained: return Unavailable("the server is closing");
  }
  return Status::Ok();
}

// A request from Submit to its kFinished.
struct Live {
  ServiceRequest request;  // the engine's thread's; empty once admitted
  std::shared_ptr<Mailbox> mailbox;
  std::string tenant;
  int place = 0;  // among those that wait, as told
  bool paused = false;
  int prompt_done = 0;
  double first_token = 0, last_token = 0;  // when they came
  Status ended;                            // why the service ended it
  Usage usage;
};

// What the threads share. Readers may outlive the service.
struct Shared {
  Shared(SchedulerOptions options, kv::TierBytes room) : scheduler(std::move(options), room) {}

  mutable std::mutex mutex;
  std::condition_variable wake;  // the engine's thread
  bool changed = false;          // since it planned last
  std::condition_variable idle;  // who drains
  SteadyClock clock;

  // All below: under the mutex.
  Scheduler scheduler;
  std::map<uint64_t, Live> live;
  uint64_t last_id = 0;
  bool closing = false;
  Status broken;  // the engine cannot go on
  std::vector<std::pair<uint64_t, std::promise<std::optional<CacheMap>>>> maps;
  ServiceStats stats;
  RateMeter rate;

  void Wake() {
    changed = true;
    wake.notify_all();
  }
};

class AnswerImpl final : public Answer {
 public:
  AnswerImpl(uint64_t id, std::shared_ptr<Shared> shared, std::shared_ptr<Mailbox> mailbox)
      : id_(id), shared_(std::move(shared)), mailbox_(std::move(mailbox)) {}

  ~AnswerImpl() override {
    const std::lock_guard lock(shared_->mutex);
    mailbox_->abandoned = true;
    mailbox_->events.clear();
    shared_->scheduler.Cancel(id_);
    shared_->Wake();
  }

  uint64_t id() const override { return id_; }

  std::optional<AnswerEvent> Next(milliseconds timeout) override {
    std::unique_lock lock(shared_->mutex);
    Mailbox& mailbox = *mailbox_;
    const auto ready = [&] { return !mailbox.events.empty() || mailbox.finished; };
    if (!mailbox.ready.wait_for(lock, timeout, ready) || mailbox.events.empty()) return std::nullopt;
    AnswerEvent event = mailbox.Take();
    shared_->scheduler.SetUnread(id_, static_cast<int>(mailbox.events.size()), mailbox.bytes, shared_->clock.Now());
    shared_->Wake();
    return event;
  }

  void Cancel() override {
    const std::lock_guard lock(shared_->mutex);
    shared_->scheduler.Cancel(id_);
    shared_->Wake();
  }

 private:
  uint64_t id_;
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<Mailbox> mailbox_;
};

class ServiceImpl final : public Service {
 public:
  ServiceImpl(std::unique_ptr<Engine> engine, ServiceOptions options)
      : engine_(std::move(engine)),
        shared_(std::make_shared<Shared>(std::move(options.scheduler), engine_->store().Room())) {
    RefreshStats();
    thread_ = std::thread([this] { Run(); });
  }

  ~ServiceImpl() override {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->scheduler.Drain(shared_->clock.Now());
      shared_->closing = true;
      shared_->Wake();
    }
    thread_.join();
  }

  std::unique_ptr<Answer> Submit(ServiceRequest request, Refusal* refusal) override;
  ServiceStats Stats() const override;
  std::vector<AnswerInfo> Answers() const override;
  std::optional<CacheMap> Map(uint64_t answer_id) override;
  void Drain(milliseconds grace) override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  // What the engine's thread does without the mutex, and what came of it.
  struct Work {
    StepPlan plan;
    std::vector<const ServiceRequest*> admit;  // of plan.admit
    std::vector<uint64_t> maps;

    std::vector<Status> admitted;                          // of plan.admit
    std::vector<std::pair<uint64_t, AnswerEvent>> events;  // of the step
    Status status;                                         // of the step
    double seconds = 0;
    bool read_prompt = false, answered = false;
    std::vector<std::optional<CacheMap>> mapped;  // of maps
  };

  std::unique_ptr<Answer> Refuse(Refusal refusal, Refusal* out);
  void Run();
  Work Take(StepPlan plan);
  void Do(Work* work);
  Status Admit(uint64_t id, const ServiceRequest& request);
  void Step(Work* work);
  AnswerEvent Translate(const Event& event);
  void Publish(Work* work);
  void PublishAdmissions(const Work& work);
  void PublishEvent(uint64_t id, AnswerEvent event);
  void PublishPlaces();
  void Break(const Status& status);
  void End(uint64_t id, AnswerEvent event);
  void RefreshStats();

  std::unique_ptr<Engine> engine_;  // of its thread, once that runs
  std::shared_ptr<Shared> shared_;
  // The engine's thread's own: what the engine holds.
  struct Running {
    uint64_t id = 0;
    int prompt_logprobs = -1;
    bool paused = false;
    bool answering = false;
  };
  std::map<RequestId, Running> running_;
  std::map<uint64_t, RequestId> ids_;
  double stats_at_ = 0;
  std::thread thread_;
};

std::unique_ptr<Answer> ServiceImpl::Refuse(Refusal refusal, Refusal* out) {
  ++shared_->stats.refused;
  *out = std::move(refusal);
  return nullptr;
}

std::unique_ptr<Answer> ServiceImpl::Submit(ServiceRequest request, Refusal* refusal) {
  Request& r = request.request;
  r.keep_open = r.record_selection = r.record_decode = r.fingerprint = false;
  r.reserve_tokens = 0;
  r.tenant = request.tenant;
  r.logprobs = request.logprobs;
  r.prompt_logits = request.prompt_logprobs >= 0 ? static_cast<int>(r.prompt.size()) : 0;
  const Status wrong = engine_->Check(r);
  const std::lock_guard lock(shared_->mutex);
  if (!wrong.ok()) {
    const bool large = wrong.code() == StatusCode::kResourceExhausted;
    return Refuse({wrong, large ? Refusal::Cause::kTooLarge : Refusal::Cause::kBadRequest, std::nullopt}, refusal);
  }
  if (!shared_->broken.ok()) {
    return Refuse(
        {Unavailable("the engine has failed: {}", shared_->broken.message()), Refusal::Cause::kDraining, std::nullopt},
        refusal);
  }
  const double now = shared_->clock.Now();
  ScheduledRequest scheduled = {.id = shared_->last_id + 1,
                                .tenant = request.tenant,
                                .prompt_tokens = static_cast<int>(r.prompt.size()),
                                .max_tokens = r.max_tokens,
                                .bytes = engine_->Charge(r),
                                .deadline = std::nullopt};
  if (request.deadline) scheduled.deadline = now + Seconds(*request.deadline);
  if (std::optional<Refusal> refused = shared_->scheduler.Submit(scheduled, now)) {
    return Refuse(*std::move(refused), refusal);
  }
  ++shared_->stats.requests;
  Live& live = shared_->live[++shared_->last_id];
  live.usage.prompt_tokens = scheduled.prompt_tokens;
  live.tenant = request.tenant;
  live.request = std::move(request);
  live.mailbox = std::make_shared<Mailbox>();
  shared_->Wake();
  return std::make_unique<AnswerImpl>(shared_->last_id, shared_, live.mailbox);
}

ServiceStats ServiceImpl::Stats() const {
  const std::lock_guard lock(shared_->mutex);
  ServiceStats stats = shared_->stats;
  const SchedulerCounts counts = shared_->scheduler.counts();
  stats.queued = counts.queued;
  stats.reading = counts.reading;
  stats.answering = counts.answering;
  stats.paused = counts.paused;
  stats.draining = shared_->scheduler.draining();
  stats.tokens_per_second = shared_->rate.Rate(stats.generated_tokens, shared_->clock.Now());
  return stats;
}

std::vector<AnswerInfo> ServiceImpl::Answers() const {
  const std::lock_guard lock(shared_->mutex);
  std::vector<AnswerInfo> answers;
  for (const auto& [id, live] : shared_->live) {
    AnswerInfo& answer = answers.emplace_back();
    answer.id = id;
    answer.tenant = live.tenant;
    answer.phase = shared_->scheduler.Waits(id)       ? AnswerPhase::kQueued
                   : live.paused                      ? AnswerPhase::kPaused
                   : live.usage.generated_tokens == 0 ? AnswerPhase::kReading
                                                      : AnswerPhase::kAnswering;
    answer.prompt_tokens = live.usage.prompt_tokens;
    answer.prompt_done = live.prompt_done;
    answer.generated_tokens = live.usage.generated_tokens;
    const double seconds = live.last_token - live.first_token;
    if (seconds > 0) answer.tokens_per_second = (live.usage.generated_tokens - 1) / seconds;
  }
  return answers;
}

std::optional<CacheMap> ServiceImpl::Map(uint64_t answer_id) {
  std::future<std::optional<CacheMap>> map;
  {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->live.contains(answer_id)) return std::nullopt;
    map = shared_->maps.emplace_back(answer_id, std::promise<std::optional<CacheMap>>()).second.get_future();
    shared_->Wake();
  }
  return map.get();
}

void ServiceImpl::Drain(milliseconds grace) {
  Lock lock(shared_->mutex);
  shared_->scheduler.Drain(shared_->clock.Now() + Seconds(grace));
  shared_->Wake();
  shared_->idle.wait(lock, [&] { return shared_->live.empty(); });
}

void ServiceImpl::Run() {
  Lock lock(shared_->mutex);
  for (;;) {
    shared_->changed = false;
    const double now = shared_->clock.Now();
    Work work = Take(shared_->scheduler.Plan(now));
    const StepPlan& plan = work.plan;
    if (!plan.step && plan.admit.empty() && plan.pause.empty() && plan.resume.empty() && work.maps.empty()) {
      if (shared_->live.empty()) shared_->idle.notify_all();
      if (shared_->closing && shared_->live.empty()) return;
      RefreshStats();
      const std::chrono::duration<double> until(std::min(plan.wake_at, now + kLongestSleep));
      const std::chrono::steady_clock::time_point at(
          std::chrono::duration_cast<std::chrono::steady_clock::duration>(until));
      shared_->wake.wait_until(lock, at, [&] { return shared_->changed; });
      continue;
    }
    lock.unlock();
    Do(&work);
    lock.lock();
    Publish(&work);
  }
}

ServiceImpl::Work ServiceImpl::Take(StepPlan plan) {
  Work work;
  for (const StepPlan::End& end : plan.end) {
    shared_->live.at(end.id).ended = WhyEnded(end.cause);
    if (!end.running) End(end.id, {.kind = AnswerEvent::Kind::kFinished, .reason = FinishReason::kCancelled});
  }
  // Elements of the map stay where they are, and only this thread takes them out or looks at their requests.
  for (const uint64_t id : plan.pause) shared_->live.at(id).paused = true;
  for (const uint64_t id : plan.resume) shared_->live.at(id).paused = false;
  for (const uint64_t id : plan.admit) work.admit.push_back(&shared_->live.at(id).request);
  for (const auto& map : shared_->maps) work.maps.push_back(map.first);
  work.plan = std::move(plan);
  PublishPlaces();
  return work;
}

Status ServiceImpl::Admit(uint64_t id, const ServiceRequest& request) {
  const Result<RequestId> admitted = engine_->Submit(request.request);
  if (!admitted.ok()) return admitted.status();
  ids_[id] = *admitted;
  running_[*admitted] = {.id = id, .prompt_logprobs = request.prompt_logprobs};
  return Status::Ok();
}

void ServiceImpl::Do(Work* work) {
  const StepPlan& plan = work->plan;
  for (const StepPlan::End& end : plan.end) {
    if (end.running) engine_->Cancel(ids_.at(end.id));
  }
  for (size_t i = 0; i < plan.admit.size(); ++i) work->admitted.push_back(Admit(plan.admit[i], *work->admit[i]));
  const auto set_paused = [&](const std::vector<uint64_t>& ids, bool paused) {
    for (const uint64_t id : ids) {
      engine_->SetPaused(ids_.at(id), paused);
      running_.at(ids_.at(id)).paused = paused;
    }
  };
  set_paused(plan.pause, true);
  set_paused(plan.resume, false);
  if (plan.step) Step(work);
  for (const uint64_t id : work->maps) {
    const auto running = ids_.find(id);
    std::optional<CacheMap>& map = work->mapped.emplace_back();
    if (running == ids_.end()) continue;
    map = engine_->Map(running->second);
    if (map) map->answer_id = id;
  }
}

void ServiceImpl::Step(Work* work) {
  // Admitted in this plan, it may have been refused by the engine.
  const auto prompt = ids_.find(work->plan.prompt);
  const RequestId read = prompt == ids_.end() ? RequestId() : prompt->second;
  work->read_prompt = read.valid();
  work->answered = std::any_of(running_.begin(), running_.end(),
                               [](const auto& r) { return r.second.answering && !r.second.paused; });
  const Stopwatch watch;
  std::vector<Event> events;
  work->status = engine_->Step(read, &events);
  work->seconds = watch.Seconds();
  for (const Event& event : events) {
    const auto running = running_.find(event.request);
    if (event.kind == Event::Kind::kPromptLogits && running->second.prompt_logprobs < 0) continue;
    work->events.emplace_back(running->second.id, Translate(event));
    running->second.answering = running->second.answering || event.kind == Event::Kind::kToken;
    if (event.kind != Event::Kind::kFinished) continue;
    engine_->Release(event.request);
    ids_.erase(running->second.id);
    running_.erase(running);
  }
}

AnswerEvent ServiceImpl::Translate(const Event& event) {
  AnswerEvent told;
  switch (event.kind) {
    case Event::Kind::kPromptProgress:
      told.kind = AnswerEvent::Kind::kProgress;
      told.prompt_done = event.prompt_done;
      told.usage.cached_tokens = engine_->result(event.request).cached_tokens;
      told.prompt_tokens = event.prompt_tokens;
      break;
    case Event::Kind::kPromptLogits: {
      told.kind = AnswerEvent::Kind::kPromptLogprobs;
      const int top = running_.at(event.request).prompt_logprobs;
      // The step that read the prompt's end has drawn the first token too, which is not the prompt's.
      const auto prompt = static_cast<size_t>(engine_->result(event.request).prompt_tokens);
      const std::span<const TokenId> tokens = std::span(engine_->tokens(event.request)).first(prompt);
      told.prompt_logprobs = PromptLogprobsOf(event.logits, event.first_pos, tokens, top);
      break;
    }
    case Event::Kind::kToken:
      told.kind = AnswerEvent::Kind::kToken;
      told.token = event.token;
      told.text = event.text;
      told.logprobs = event.logprobs;
      break;
    case Event::Kind::kFinished:
      told.kind = AnswerEvent::Kind::kFinished;
      told.text = event.text;
      told.reason = event.reason;
      told.error = event.error;
      break;
  }
  return told;
}

void ServiceImpl::Publish(Work* work) {
  PublishAdmissions(*work);
  for (auto& [id, event] : work->events) PublishEvent(id, std::move(event));
  if (work->plan.step) shared_->scheduler.StepTook(work->seconds, work->read_prompt, work->answered);
  if (!work->status.ok()) Break(work->status);
  const double now = shared_->clock.Now();
  shared_->rate.Add(shared_->stats.generated_tokens, now);
  shared_->stats.host_used_bytes = engine_->store().host_used_bytes();
  if (now - stats_at_ >= kStatsSeconds) RefreshStats();
  // In their order, and before any that came since.
  for (size_t i = 0; i < work->maps.size(); ++i) {
    std::optional<CacheMap>& map = work->mapped[i];
    if (!map && shared_->live.contains(work->maps[i])) map = CacheMap{.answer_id = work->maps[i]};  // it waits
    shared_->maps[i].second.set_value(std::move(map));
  }
  shared_->maps.erase(shared_->maps.begin(), shared_->maps.begin() + static_cast<std::ptrdiff_t>(work->maps.size()));
  if (shared_->live.empty()) shared_->idle.notify_all();
}

void ServiceImpl::PublishAdmissions(const Work& work) {
  // From the last to the first, so that those that wait again stand in their order.
  for (size_t i = work.admitted.size(); i-- > 0;) {
    const uint64_t id = work.plan.admit[i];
    Live& live = shared_->live.at(id);
    if (work.admitted[i].ok()) {
      live.request = {};
      shared_->stats.prompt_tokens += static_cast<uint64_t>(live.usage.prompt_tokens);
      continue;
    }
    // The arithmetic found room: it is memory of the machine that others hold.
    const bool full = work.admitted[i].code() == StatusCode::kResourceExhausted;
    if (full && shared_->scheduler.AdmissionFailed(id)) continue;
    if (!full) shared_->scheduler.Finished(id);
    End(id, {.kind = AnswerEvent::Kind::kFinished, .reason = FinishReason::kError, .error = work.admitted[i]});
  }
}

void ServiceImpl::PublishEvent(uint64_t id, AnswerEvent event) {
  Live& live = shared_->live.at(id);
  Scheduler& scheduler = shared_->scheduler;
  switch (event.kind) {
    case AnswerEvent::Kind::kProgress:
      scheduler.PromptRead(id, event.prompt_done);
      live.prompt_done = event.prompt_done;
      shared_->stats.cached_tokens += static_cast<uint64_t>(event.usage.cached_tokens - live.usage.cached_tokens);
      live.usage.cached_tokens = event.usage.cached_tokens;
      break;
    case AnswerEvent::Kind::kToken:
      scheduler.Generated(id);
      live.last_token = shared_->clock.Now();
      if (live.usage.generated_tokens++ == 0) live.first_token = live.last_token;
      ++shared_->stats.generated_tokens;
      break;
    case AnswerEvent::Kind::kFinished: scheduler.Finished(id); return End(id, std::move(event));
    default: break;
  }
  Mailbox& mailbox = *live.mailbox;
  mailbox.Put(std::move(event));
  scheduler.SetUnread(id, static_cast<int>(mailbox.events.size()), mailbox.bytes, shared_->clock.Now());
}

// Those that wait are told where they stand when that has changed.
void ServiceImpl::PublishPlaces() {
  int place = 0;
  for (auto& [id, live] : shared_->live) {
    if (!shared_->scheduler.Waits(id)) continue;
    if (++place == live.place) continue;
    live.place = place;
    live.mailbox->Put({.kind = AnswerEvent::Kind::kQueued, .queue_place = place});
  }
}

// No request survives what the engine cannot go on from.
void ServiceImpl::Break(const Status& status) {
  LogMessage(LogLevel::kError, fmt::format("the engine has failed: {}", status.ToString()));
  shared_->broken = status;
  while (!shared_->live.empty()) {
    const uint64_t id = shared_->live.begin()->first;
    shared_->scheduler.Finished(id);
    End(id, {.kind = AnswerEvent::Kind::kFinished, .reason = FinishReason::kError, .error = status});
  }
  ids_.clear();
  running_.clear();
}

// The last event of a request.
void ServiceImpl::End(uint64_t id, AnswerEvent event) {
  Live& live = shared_->live.at(id);
  if (event.reason == FinishReason::kCancelled && !live.ended.ok()) event.error = live.ended;
  event.usage = live.usage;
  ServiceStats& stats = shared_->stats;
  ++(event.reason == FinishReason::kError       ? stats.failed
     : event.reason == FinishReason::kCancelled ? stats.cancelled
                                                : stats.finished);
  live.mailbox->Put(std::move(event));
  shared_->live.erase(id);
}

void ServiceImpl::RefreshStats() {
  ServiceStats& stats = shared_->stats;
  stats.engine = engine_->stats();
  stats.host_used_bytes = engine_->store().host_used_bytes();
  stats.host_budget_bytes = engine_->store().host_budget_bytes();
  stats.cold_bytes = stats.engine.kv.cold_bytes;
  stats.cold_budget_bytes = engine_->store().Room().cold;
  stats_at_ = shared_->clock.Now();
}

}  // namespace

std::string_view AnswerPhaseName(AnswerPhase phase) {
  constexpr std::string_view kNames[] = {"queued", "reading", "answering", "paused"};
  return kNames[static_cast<size_t>(phase)];
}

std::unique_ptr<Service> Service::Create(std::unique_ptr<Engine> engine, ServiceOptions options) {
  return std::make_unique<ServiceImpl>(std::move(engine), std::move(options));
}

}  // namespace nosa::engine

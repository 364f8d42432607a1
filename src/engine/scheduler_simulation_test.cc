// The scheduler in thousands of random worlds on a clock that is only a number: what must hold after every step,
// whoever comes, leaves, reads slowly or fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "engine/scheduler.h"

namespace nosa::engine {
namespace {

constexpr int kChunk = 64;
constexpr double kForever = std::numeric_limits<double>::infinity();

class Dice {
 public:
  explicit Dice(uint64_t seed) : rng_(seed, 0x5c4ed) {}
  int Below(int n) { return static_cast<int>(rng_.Block(next_++)[0] % static_cast<uint32_t>(n)); }
  int Between(int low, int high) { return low + Below(high - low + 1); }
  bool Chance(double p) { return rng_.Uniform(next_++) < p; }
  double Real(double low, double high) { return low + (high - low) * rng_.Uniform(next_++); }

 private:
  Philox rng_;
  uint64_t next_ = 0;
};

// One request of the world: what it asked for, and what the simulated engine and reader hold of it.
struct Person {
  ScheduledRequest request;
  bool scored = false;     // reading its prompt says something, too
  double read_chance = 1;  // per loop; 0: never reads
  double cancel_at = kForever;
  int error_after = -1;  // generated tokens; -1: never
  int stop_after = -1;
  // Now.
  bool open = false, ended = false, paused = false, engine_cancel = false, requeued = false;
  bool cancel_called = false;
  std::optional<EndCause> cause;  // told by the scheduler
  int prompt_done = 0, generated = 0, unread = 0;
  double admitted_at_tokens = 0;  // prompt tokens read by then, of all
  double last_read = 0;
};

// What happened in all worlds together, so that none of it is merely never tried.
struct Seen {
  std::map<EndCause, int> ends;
  std::map<Refusal::Cause, int> refusals;
  int resumed = 0, failed_admissions = 0, decode_only = 0;
};

struct Ledger {                                             // of one tenant
  std::vector<std::pair<double, double>> requests, tokens;  // when, how much (negative: given back)
  int live = 0;
};

class World {
 public:
  explicit World(uint64_t seed, Seen* seen = nullptr) : dice_(seed), seen_(seen) {
    options_.max_running = dice_.Between(1, 8);
    options_.max_queued = dice_.Chance(0.1) ? 0 : dice_.Between(1, 20);
    options_.max_unread_events = dice_.Between(2, 12);
    options_.stalled_seconds = dice_.Real(0.5, 5);
    options_.step_ms_target = dice_.Chance(0.3) ? 0 : dice_.Real(1, 100);
    options_.max_overtakes = dice_.Between(0, 5);
    options_.limits = RandomLimits();
    if (dice_.Chance(0.5)) options_.tenants["a"] = RandomLimits();
    room_ = {static_cast<uint64_t>(dice_.Between(500, 4000)), static_cast<uint64_t>(dice_.Between(500, 4000))};
    if (dice_.Chance(0.3)) drain_at_ = dice_.Real(0, 20);
    decode_seconds_ = dice_.Real(0.001, 0.02);
    chunk_seconds_ = dice_.Real(0.001, 0.3);
    fault_chance_ = dice_.Chance(0.5) ? 0.05 : 0;
    for (int left = dice_.Between(5, 60); left > 0; --left) {
      if (!dice_.Chance(0.4)) next_arrival_ += dice_.Real(0, 1);
      arrivals_.push_back(next_arrival_);
    }
    scheduler_ = std::make_unique<Scheduler>(options_, room_);
  }

  // Runs to the end; the hash of all decisions.
  uint64_t Run() {
    for (int loops = 0; !testing::Test::HasFailure(); ++loops) {
      if (loops > 200000) {
        ADD_FAILURE() << "no end";
        break;
      }
      Arrive();
      if (now_ >= drain_at_ && !scheduler_->draining()) scheduler_->Drain(drain_until_ = now_ + dice_.Real(0, 3));
      CancelSome();
      ReadSome();
      const StepPlan plan = scheduler_->Plan(now_);
      Record(plan);
      CheckPlan(plan);
      CarryOut(plan);
      CheckState();
      if (Done()) break;
      if (!plan.step && !Wait(plan)) break;
    }
    CheckEnd();
    return hash_.Digest();
  }

 private:
  TenantLimits RandomLimits() {
    TenantLimits limits;
    if (dice_.Chance(0.4)) limits.max_requests = dice_.Between(1, 6);
    if (dice_.Chance(0.3)) limits.requests_per_minute = dice_.Real(0.5, 100);
    if (dice_.Chance(0.3)) limits.tokens_per_minute = dice_.Real(100, 20000);
    limits.weight = dice_.Real(0.5, 3);
    return limits;
  }
  const TenantLimits& LimitsOf(const std::string& tenant) const {
    return options_.tenants.contains(tenant) ? options_.tenants.at(tenant) : options_.limits;
  }

  Person NewPerson() {
    Person p;
    p.request.id = ++last_id_;
    p.request.tenant = std::string(1, static_cast<char>('a' + dice_.Below(4)));
    p.request.prompt_tokens = dice_.Chance(0.3) ? dice_.Between(200, 2000) : dice_.Between(1, 100);
    p.request.max_tokens = dice_.Between(0, 40);
    const int tokens = p.request.prompt_tokens + p.request.max_tokens;
    p.request.bytes = {static_cast<uint64_t>(dice_.Between(1, 40) + tokens / dice_.Between(1, 3)),
                       static_cast<uint64_t>(tokens)};
    if (dice_.Chance(0.2)) p.request.deadline = now_ + dice_.Real(0, 5);
    if (dice_.Chance(0.15)) p.cancel_at = now_ + dice_.Real(0, 5);
    p.read_chance = dice_.Chance(0.1) ? 0 : dice_.Chance(0.3) ? 0.05 : 1;
    p.scored = dice_.Chance(0.2);
    if (dice_.Chance(0.1)) p.error_after = dice_.Below(20);
    if (dice_.Chance(0.4)) p.stop_after = dice_.Below(30);
    return p;
  }

  void Arrive() {
    while (next_ < arrivals_.size() && arrivals_[next_] <= now_) {
      ++next_;
      Person p = NewPerson();
      CheckSubmit(p, scheduler_->Submit(p.request, now_));
    }
  }

  void CheckSubmit(const Person& p, const std::optional<Refusal>& refusal) {
    Ledger& ledger = ledgers_[p.request.tenant];
    const TenantLimits& limits = LimitsOf(p.request.tenant);
    const bool draining = now_ >= drain_at_ && drain_until_ < kForever;
    const bool full = options_.max_queued > 0 ? Queued() >= options_.max_queued : Queued() > 0 || !FitsNow(p);
    const bool crowded = limits.max_requests > 0 && ledger.live >= limits.max_requests;
    if (!refusal) {
      EXPECT_FALSE(draining || full || crowded || !p.request.bytes.Within(room_)) << "taken at " << now_;
      const int tokens = p.request.prompt_tokens + p.request.max_tokens;
      ledger.requests.push_back({now_, 1});
      ledger.tokens.push_back({now_, tokens});
      most_tokens_ = std::max(most_tokens_, tokens);
      ++ledger.live;
      people_[p.request.id] = p;
      return;
    }
    EXPECT_FALSE(refusal->status.ok());
    if (seen_ != nullptr) ++seen_->refusals[refusal->cause];
    switch (refusal->cause) {
      case Refusal::Cause::kDraining: EXPECT_TRUE(draining); break;
      case Refusal::Cause::kTooLarge: EXPECT_FALSE(p.request.bytes.Within(room_)); break;
      case Refusal::Cause::kQueueFull: EXPECT_TRUE(full); break;
      case Refusal::Cause::kConcurrency: EXPECT_TRUE(crowded); break;
      case Refusal::Cause::kRateLimit: CheckRetry(p, *refusal); break;
      case Refusal::Cause::kBadRequest: ADD_FAILURE(); break;
    }
  }

  // Who comes back when told to is not told so again: by either bucket once, at most.
  void CheckRetry(const Person& p, const Refusal& refusal) {
    std::optional<Refusal> again = refusal;
    Scheduler later = *scheduler_;
    double at = now_;
    for (int i = 0; i < 2 && again && again->cause == Refusal::Cause::kRateLimit; ++i) {
      ASSERT_TRUE(again->retry_after && again->retry_after->count() > 0);
      at += static_cast<double>(again->retry_after->count()) / 1000;
      again = later.Submit(p.request, at);
    }
    EXPECT_FALSE(again && again->cause == Refusal::Cause::kRateLimit) << again->status.ToString();
  }

  void CancelSome() {
    for (auto& [id, p] : people_) {
      if (p.ended || p.cancel_called || p.cancel_at > now_) continue;
      scheduler_->Cancel(id);
      p.cancel_called = true;
    }
  }

  void ReadSome() {
    for (auto& [id, p] : people_) {
      if (p.ended || p.unread == 0 || !dice_.Chance(p.read_chance)) continue;
      p.unread = dice_.Below(p.unread);
      p.last_read = now_;
      scheduler_->SetUnread(id, p.unread, static_cast<uint64_t>(p.unread) * 100, now_);
    }
  }

  int Queued() const {
    return static_cast<int>(
        std::count_if(people_.begin(), people_.end(), [](const auto& p) { return !p.second.open && !p.second.ended; }));
  }
  int Open() const {
    return static_cast<int>(std::count_if(people_.begin(), people_.end(), [](const auto& p) { return p.second.open; }));
  }
  kv::TierBytes Held() const {
    kv::TierBytes held;
    for (const auto& [id, p] : people_) held += p.open ? p.request.bytes : kv::TierBytes();
    return held;
  }
  bool FitsNow(const Person& p) const {
    return !held_back_ && Open() < options_.max_running && (Held() + p.request.bytes).Within(room_);
  }

  void Record(const StepPlan& plan) {
    const auto add = [&](uint64_t value) { hash_.Update(std::as_bytes(std::span(&value, 1))); };
    for (const StepPlan::End& end : plan.end) add(end.id * 8 + static_cast<uint64_t>(end.cause));
    for (const std::vector<uint64_t>& ids : {plan.admit, plan.pause, plan.resume}) {
      add(ids.size());
      for (const uint64_t id : ids) add(id);
    }
    add(plan.prompt);
    add(plan.step ? 1 : 0);
  }

  void CheckPlan(const StepPlan& plan) {
    for (const StepPlan::End& end : plan.end) {
      const Person& p = people_.at(end.id);
      EXPECT_FALSE(p.ended || p.cause) << end.id << " is ended twice";
      EXPECT_EQ(end.running, p.open);
      switch (end.cause) {
        case EndCause::kCancelled: EXPECT_TRUE(p.cancel_called); break;
        case EndCause::kDeadline: EXPECT_LE(*p.request.deadline, now_); break;
        case EndCause::kStalledReader:
          EXPECT_TRUE(p.paused);
          EXPECT_LE(p.last_read + options_.stalled_seconds, now_);
          break;
        case EndCause::kDrained: EXPECT_LE(drain_until_, now_); break;
      }
    }
    std::set<uint64_t> ending;
    for (const StepPlan::End& end : plan.end) ending.insert(end.id);
    for (const auto& [id, p] : people_) {
      if (p.ended || p.cause || ending.contains(id)) continue;
      EXPECT_FALSE(p.cancel_called) << id << " was cancelled";
      EXPECT_FALSE(p.request.deadline && *p.request.deadline <= now_) << id << " is too late";
      EXPECT_FALSE(drain_until_ <= now_) << id << " outlives the grace";
    }
    if (plan.prompt != 0) CheckTurn(people_.at(plan.prompt), plan);
    if (seen_ == nullptr) return;
    for (const StepPlan::End& end : plan.end) ++seen_->ends[end.cause];
    seen_->resumed += static_cast<int>(plan.resume.size());
  }

  bool Reads(const Person& p) const {
    return p.open && !p.paused && !p.cause && p.prompt_done < p.request.prompt_tokens;
  }

  // Nobody is overtaken by who came when twice its rest had been read.
  void CheckTurn(const Person& chosen, const StepPlan& plan) {
    const auto admitted = [&](uint64_t id) { return std::count(plan.admit.begin(), plan.admit.end(), id) > 0; };
    const double since = admitted(chosen.request.id) ? tokens_read_ : chosen.admitted_at_tokens;
    for (const auto& [id, p] : people_) {
      const auto in = [id = id](const auto& ids) { return std::count(ids.begin(), ids.end(), id) > 0; };
      if (!Reads(p) || id == chosen.request.id || in(plan.pause)) continue;
      if (std::any_of(plan.end.begin(), plan.end.end(), [id = id](const auto& e) { return e.id == id; })) continue;
      EXPECT_LE(since - p.admitted_at_tokens, 2.0 * (p.request.prompt_tokens - p.prompt_done)) << id << " starves";
    }
  }

  void End(Person* p) {
    EXPECT_FALSE(p->ended);
    p->ended = true;
    p->open = false;
    Ledger& ledger = ledgers_[p->request.tenant];
    --ledger.live;
    ledger.tokens.push_back({now_, p->prompt_done - p->request.prompt_tokens + p->generated - p->request.max_tokens});
  }

  void Finish(Person* p) {
    scheduler_->Finished(p->request.id);
    held_back_ = false;
    End(p);
  }

  void Tell(Person* p) {
    ++p->unread;
    scheduler_->SetUnread(p->request.id, p->unread, static_cast<uint64_t>(p->unread) * 100, now_);
  }

  void CarryOut(const StepPlan& plan) {
    for (const StepPlan::End& end : plan.end) {
      Person& p = people_.at(end.id);
      p.cause = end.cause;
      p.paused = false;
      if (end.running)
        p.engine_cancel = true;
      else
        End(&p);
    }
    std::vector<uint64_t> failed;
    for (const uint64_t id : plan.admit) {
      Person& p = people_.at(id);
      EXPECT_FALSE(p.open || p.ended);
      p.open = true;
      p.admitted_at_tokens = tokens_read_;
      if (dice_.Chance(fault_chance_)) failed.push_back(id);
    }
    // As all were admitted: the arithmetic is the scheduler's promise.
    EXPECT_TRUE(Held().Within(room_));
    EXPECT_LE(Open(), options_.max_running);
    std::reverse(failed.begin(), failed.end());
    for (const uint64_t id : failed) {
      Person& p = people_.at(id);
      p.open = false;
      p.requeued = true;
      if (seen_ != nullptr) ++seen_->failed_admissions;
      const bool others = Open() > 0;
      EXPECT_EQ(scheduler_->AdmissionFailed(id), others);
      held_back_ = others;
      if (!others) End(&p);
    }
    for (const uint64_t id : plan.pause)
      EXPECT_TRUE(people_.at(id).open && !std::exchange(people_.at(id).paused, true));
    for (const uint64_t id : plan.pause) people_.at(id).last_read = now_;
    for (const uint64_t id : plan.resume) EXPECT_TRUE(std::exchange(people_.at(id).paused, false));
    if (plan.step) Step(plan);
  }

  void Step(const StepPlan& plan) {
    bool answered = false, progress = false;
    std::vector<Person*> decoding;
    for (auto& [id, p] : people_) {
      if (!p.open) continue;
      if (p.engine_cancel) {
        Finish(&p);
        progress = true;
      } else if (p.prompt_done == p.request.prompt_tokens && !p.paused) {
        decoding.push_back(&p);
      }
    }
    Person* prompt = plan.prompt == 0 ? nullptr : &people_.at(plan.prompt);
    if (prompt != nullptr && !prompt->open) prompt = nullptr;  // its admission failed
    if (prompt != nullptr) {
      ASSERT_TRUE(Reads(*prompt));
    }
    for (Person* p : decoding) {
      answered = progress = true;
      if (p->generated == p->error_after || p->generated == p->stop_after) {
        Finish(p);
        continue;
      }
      ++p->generated;
      scheduler_->Generated(p->request.id);
      Tell(p);
      if (p->generated >= p->request.max_tokens) Finish(p);
    }
    if (prompt != nullptr) {
      const int done = std::min(prompt->request.prompt_tokens, prompt->prompt_done + kChunk);
      tokens_read_ += done - prompt->prompt_done;
      prompt->prompt_done = done;
      scheduler_->PromptRead(prompt->request.id, done);
      progress = true;
      if (prompt->scored) Tell(prompt);
      if (done == prompt->request.prompt_tokens && prompt->request.max_tokens == 0) Finish(prompt);
    }
    const bool readers = std::any_of(people_.begin(), people_.end(), [&](const auto& p) { return Reads(p.second); });
    steps_without_chunk_ = prompt != nullptr || !readers ? 0 : steps_without_chunk_ + 1;
    if (seen_ != nullptr) seen_->decode_only += steps_without_chunk_ > 0 ? 1 : 0;
    EXPECT_LE(steps_without_chunk_, 64) << "prompts starve";
    EXPECT_TRUE(progress || plan.prompt != 0) << "a step of nobody";
    const double seconds = (prompt != nullptr ? chunk_seconds_ : 0) + (answered ? decode_seconds_ : 0);
    scheduler_->StepTook(seconds, prompt != nullptr, answered);
    now_ += seconds;
  }

  void CheckState() {
    const SchedulerCounts counts = scheduler_->counts();
    EXPECT_EQ(counts.queued, Queued());
    EXPECT_EQ(counts.reserved, Held());
    // Those whose admission failed came back over the bound.
    const auto again = std::count_if(people_.begin(), people_.end(), [](const auto& p) {
      return p.second.requeued && !p.second.open && !p.second.ended;
    });
    EXPECT_LE(Queued(), options_.max_queued + again);
    for (const auto& [id, p] : people_) {
      EXPECT_LE(p.open ? p.unread : 0, options_.max_unread_events) << id << " goes on unread";
    }
    for (const auto& [name, ledger] : ledgers_) {
      const int most = LimitsOf(name).max_requests;
      EXPECT_TRUE(most == 0 || ledger.live <= most) << name;
    }
  }

  bool Done() const {
    return next_ == arrivals_.size() &&
           std::all_of(people_.begin(), people_.end(), [](const auto& p) { return p.second.ended; });
  }

  // To the next moment at which something may change; false: there is none, although somebody waits.
  bool Wait(const StepPlan& plan) {
    double until = plan.wake_at;
    if (next_ < arrivals_.size()) until = std::min(until, arrivals_[next_]);
    for (const auto& [id, p] : people_) {
      if (p.ended) continue;
      if (!p.cancel_called) until = std::min(until, p.cancel_at);
      if (p.unread > 0 && p.read_chance > 0) until = std::min(until, now_ + 0.01);
    }
    if (!plan.end.empty() || !plan.admit.empty()) until = now_;
    EXPECT_LT(until, kForever) << "deadlock at " << now_ << " with " << Queued() << " waiting, " << Open() << " open";
    now_ = std::max(now_, until);
    return until < kForever;
  }

  void CheckEnd() {
    for (const auto& [name, ledger] : ledgers_) {
      const TenantLimits& limits = LimitsOf(name);
      CheckRate(ledger.requests, limits.requests_per_minute, 1);
      CheckRate(ledger.tokens, limits.tokens_per_minute, most_tokens_);
    }
    EXPECT_EQ(scheduler_->counts().reserved, kv::TierBytes());
    EXPECT_EQ(scheduler_->counts().queued + scheduler_->counts().reading + scheduler_->counts().answering, 0);
  }

  // In any window no more than a full bucket, what came in since, and the one request that may overdraw it.
  static void CheckRate(const std::vector<std::pair<double, double>>& entries, double per_minute, double one) {
    if (per_minute == 0) return;
    for (size_t i = 0; i < entries.size(); ++i) {
      double sum = 0;
      for (size_t j = i; j < entries.size(); ++j) {
        sum += entries[j].second;
        ASSERT_LE(sum, per_minute + (entries[j].first - entries[i].first) * per_minute / 60 + one + 1e-6);
      }
    }
  }

  Dice dice_;
  Seen* seen_;
  SchedulerOptions options_;
  kv::TierBytes room_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<uint64_t, Person> people_;
  std::map<std::string, Ledger> ledgers_;
  std::vector<double> arrivals_;
  size_t next_ = 0;
  double next_arrival_ = 0, now_ = 0, tokens_read_ = 0;
  double drain_at_ = kForever, drain_until_ = kForever;
  double decode_seconds_ = 0, chunk_seconds_ = 0, fault_chance_ = 0;
  uint64_t last_id_ = 0;
  int most_tokens_ = 0, steps_without_chunk_ = 0;
  bool held_back_ = false;
  StreamHash hash_;
};

TEST(SchedulerSimulation, HoldsWhatItPromisesInRandomWorlds) {
  Seen seen;
  for (uint64_t seed = 0; seed < 4000 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    World(seed, &seen).Run();
  }
  for (const EndCause cause :
       {EndCause::kCancelled, EndCause::kDeadline, EndCause::kStalledReader, EndCause::kDrained}) {
    EXPECT_GT(seen.ends[cause], 100) << static_cast<int>(cause);
  }
  using Cause = Refusal::Cause;
  for (const Cause cause :
       {Cause::kTooLarge, Cause::kRateLimit, Cause::kConcurrency, Cause::kQueueFull, Cause::kDraining}) {
    EXPECT_GT(seen.refusals[cause], 100) << static_cast<int>(cause);
  }
  EXPECT_GT(seen.resumed, 100);
  EXPECT_GT(seen.failed_admissions, 100);
  EXPECT_GT(seen.decode_only, 100);
}

TEST(SchedulerSimulation, TheSameCallsGiveTheSameDecisions) {
  for (uint64_t seed = 0; seed < 50; ++seed) EXPECT_EQ(World(seed).Run(), World(seed).Run()) << seed;
  EXPECT_NE(World(1).Run(), World(2).Run());
}

}  // namespace
}  // namespace nosa::engine

// Requests to tokens: a batch of sequences of any lengths, advanced a step at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "engine/cache_map.h"
#include "engine/constraint.h"
#include "engine/request.h"
#include "engine/seating.h"
#include "kv/store.h"
#include "model/runner.h"
#include "text/tokenizer.h"

namespace nosa::engine {

struct EngineOptions {
  model::AttentionOptions attention;
  uint64_t host_budget_bytes = kv::kNoLimit;
  std::string kv_policy = "importance-lru";
  std::string kv_codec = "raw";
  // Where blocks go that do not fit (kv::MakeTier); null: nowhere.
  std::unique_ptr<kv::Tier> cold;
  // Tokens of a prompt read at once, in pieces cut at multiples of this from the sequence's start. Part of what an
  // answer's bits depend on.
  int prefill_chunk = 512;
  DecodeOptions decode;
  // Chunks of prompts stay cached for requests that begin with the same tokens, as far as the budgets have room:
  // docs/prefix-reuse.md.
  bool prefix_cache = false;
  bool share_prefixes_across_tenants = false;  // else requests share with their own tenant's only
  // kv::StoreOptions::prefix_bytes. Without it, and without a bound of the host, nothing is ever forgotten.
  uint64_t prefix_bytes = kv::kNoLimit;
  // Told while memory for KV is pinned, which takes seconds for many gigabytes.
  kv::PinningProgress pinning;
};

struct EngineStats {
  kv::StoreStats kv;
  // Of steps planned on the device, each block that was read counts once.
  model::LocalityStats decode_locality, prefill_locality;
  SeatingStats seating;
  uint64_t recomputed_blocks = 0;  // damaged blocks whose contents were computed again
};

// One caller thread. Every step runs the next piece of one waiting prompt and one token of every answering sequence.
// Which sequences share a step changes nothing in any of them.
class Engine {
 public:
  // `tokenizer` may be null: then there is no text, and stop strings are refused. Fails as KvStore::Create and
  // AttentionRunner::Create. `backend` outlives the engine.
  static Result<std::unique_ptr<Engine>> Create(std::shared_ptr<const model::Model> model,
                                                std::shared_ptr<const text::Tokenizer> tokenizer, EngineOptions options,
                                                ops::Backend* backend);
  ~Engine();

  // Validates and admits. kInvalidArgument: empty prompt, ids outside the vocabulary (names the first), more tokens
  // than the model's positions, bad sampling values, a grammar with ignore_eos or that ConstraintCache::Begin refuses.
  // kResourceExhausted as KvStore::Open.
  Result<RequestId> Submit(Request request);

  // After kFinished of a request with keep_open: forgets the tokens from position `keep` on (of prompt + generated),
  // appends `tokens` (not empty) and answers again under `request`'s sampling, max_tokens, stop, prompt_logits
  // settings (its prompt is ignored). Results start anew, the fingerprint too. A cut inside a prefill chunk reads that
  // chunk's kept tokens again, so that the answer is the one a fresh request with these tokens would get.
  // kFailedPrecondition when the sequence is closed (it failed, or had no keep_open); kInvalidArgument and
  // kResourceExhausted leave it as it was; a failure of the cold tier ends it, as kError.
  Status Continue(RequestId id, int keep, std::vector<TokenId> tokens, Request request);

  // What Submit would refuse whatever is open: kInvalidArgument (but of a grammar only what needs no look at the
  // vocabulary), and kResourceExhausted for what the tiers could not hold if it were alone. For any thread.
  Status Check(const Request& request) const;
  // Bytes of the tiers that Submit will count for it (KvStore::Charge). For any thread.
  kv::TierBytes Charge(const Request& request) const;

  // Paused sequences count.
  bool HasWork() const;
  // Appends what happened to `events`. An error that concerns one request ends that request (kFinished, kError); the
  // Status returned is for what no request can survive.
  Status Step(std::vector<Event>* events) { return Step(NextPrompt(), events); }
  // The same, where the caller says whose prompt is read on: a sequence that still has some and is not paused. Invalid:
  // nobody's.
  Status Step(RequestId prompt, std::vector<Event>* events);
  // Ends it before the next step: its last event is kFinished with kCancelled.
  void Cancel(RequestId id);
  // A paused sequence takes no steps; it keeps what it holds, but for its seat. Its tokens are those it would have had.
  void SetPaused(RequestId id, bool paused);

  // Valid until Release.
  const RequestResult& result(RequestId id) const;
  // Prompt and generated tokens that are, or are about to be, in the cache.
  const std::vector<TokenId>& tokens(RequestId id) const;
  // Gives back everything the request holds. It must have finished.
  void Release(RequestId id);

  // Where the request's blocks are between two steps (answer_id is 0); nothing when its cache is closed, or there is
  // no memory to copy a device's tables to. Takes a look
  // at every lane of every block: a few times a second, for somebody who watches. For the caller of Step.
  std::optional<CacheMap> Map(RequestId id) const;

  EngineStats stats() const;
  const kv::KvStore& store() const { return *store_; }
  kv::KvStore& store() { return *store_; }
  const model::Model& model() const { return *model_; }

 private:
  Engine(std::shared_ptr<const model::Model> model, std::shared_ptr<const text::Tokenizer> tokenizer,
         EngineOptions options, ops::Backend* backend);

  Status Validate(const Request& request, size_t present) const;
  int ReserveTokens(const Request& request) const;
  // Whose turn it is when nobody chooses: one after the other.
  RequestId NextPrompt();
  Result<std::optional<Constraint>> BeginConstraint(const Request& request);
  void StepPrefill(Sequence& sequence, std::vector<Event>* events);
  void StepDecode(std::vector<Event>* events);
  Status RunChunk(Sequence& sequence, int tokens, bool prefill, TensorView logits, model::SelectionRecord* record);
  void StepPlanned(std::span<Sequence* const> batch, std::vector<Event>* events);
  void StepSeats(std::vector<Event>* events);
  // Seats for those who wait for one, first come first served.
  void FillSeats();
  Status ForwardDecode(std::span<Sequence* const> batch, TensorView logits, model::SelectionRecord* record);
  Status WithRepair(Sequence& sequence, const std::function<Status()>& attempt);
  Status Repair(Sequence& sequence);
  Status CutTo(Sequence& sequence, int tokens);
  // Draws from the logits; returns the token.
  TokenId Draw(Sequence& sequence, std::span<const float> logits);
  // `event`: what kToken says beside the token.
  void Emit(Sequence& sequence, TokenId token, std::vector<Event>* events, Event event = {});
  kv::PrefixQuery PrefixOf(const Request& request, std::span<const TokenId> tokens) const;
  // What of the prompt need not be read by the request itself.
  kv::PrefixQuery Reusable(const Request& request, std::span<const TokenId> prompt) const;
  // Takes over what is cached of the prompt's next chunks.
  void ReusePrefix(Sequence& sequence);
  void LoadPrefix(Sequence& sequence, const kv::SharedPrefix& shared);
  // Keeps the chunk it has just read, if a fresh request would read the same.
  void KeepPrefix(Sequence& sequence);
  void LeaveSeat(Sequence& sequence);
  // Gives the sequence's cache back, if it still has one.
  void CloseCache(Sequence& sequence);
  void Finish(Sequence& sequence, FinishReason reason, Status error, std::vector<Event>* events);
  TensorView Logits(int rows);
  Sequence& At(RequestId id) const;

  std::shared_ptr<const model::Model> model_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  EngineOptions options_;
  ops::Backend* backend_;
  std::unique_ptr<kv::KvStore> store_;
  std::unique_ptr<model::Runner> runner_;
  std::unique_ptr<Seating> seating_;  // null: the host plans every step
  uint64_t answers_begun_ = 0;
  Sampler sampler_;
  std::vector<std::unique_ptr<Sequence>> sequences_;  // by RequestId; null: free
  size_t next_prefill_ = 0;                           // whose turn it is to have its prompt read
  Buffer logits_;
  ConstraintCache constraints_;
  model::SelectionRecord record_;
  std::vector<model::SelectionRecord> decode_records_;  // of a step of all, or of each alone
  uint64_t recomputed_blocks_ = 0;
};

}  // namespace nosa::engine

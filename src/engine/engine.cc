#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/logprobs.h"
#include "engine/sequence.h"

namespace nosa::engine {
namespace {

// Repairs of one step before the disk is called broken: each repair replaces a block by fresh bytes, so more than a few
// in a row means that whatever is written comes back damaged.
constexpr int kMostRepairs = 64;

}  // namespace

Engine::Engine(std::shared_ptr<const model::Model> model, std::shared_ptr<const text::Tokenizer> tokenizer,
               EngineOptions options, ops::Backend* backend)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(std::move(options)),
      backend_(backend),
      sampler_(backend),
      constraints_(tokenizer_, model_->config().vocab_size, model_->config().eos_tokens) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(std::shared_ptr<const model::Model> model,
                                               std::shared_ptr<const text::Tokenizer> tokenizer, EngineOptions options,
                                               ops::Backend* backend) {
  const int block = model->attention_config().block_size;
  if (options.prefill_chunk <= 0 || options.prefill_chunk % block != 0) {
    return InvalidArgument("the prefill chunk must be a multiple of the block of {} tokens, found {}", block,
                           options.prefill_chunk);
  }
  std::unique_ptr<Engine> engine(new Engine(std::move(model), std::move(tokenizer), std::move(options), backend));
  EngineOptions& o = engine->options_;
  kv::StoreOptions store;
  store.layout = engine->model_->block_layout();
  store.host_budget_bytes = o.host_budget_bytes;
  store.policy = o.kv_policy;
  store.codec = o.kv_codec;
  store.binding = engine->model_->binding();
  store.max_append_tokens = o.prefill_chunk;
  store.min_slots_per_lane = engine->model_->MinSlotsPerLane();
  store.cold = std::move(o.cold);
  store.pinning = o.pinning;
  store.prefix_chunk_tokens = o.prefix_cache ? o.prefill_chunk : 0;
  store.prefix_bytes = o.prefix_bytes;
  NOSA_ASSIGN_OR_RETURN(engine->store_, kv::KvStore::Create(std::move(store), backend));
  NOSA_ASSIGN_OR_RETURN(engine->runner_,
                        model::Runner::Create(engine->model_, o.attention, engine->store_.get(), backend));
  NOSA_ASSIGN_OR_RETURN(engine->seating_,
                        Seating::Create(engine->model_, o.decode, o.attention.selector, engine->store_.get(), backend));
  return engine;
}

Sequence& Engine::At(RequestId id) const {
  const size_t i = static_cast<size_t>(id.value);
  NOSA_CHECK(i < sequences_.size() && sequences_[i] != nullptr, "request {} does not exist", id.value);
  return *sequences_[i];
}

Status Engine::Validate(const Request& request, size_t present) const {
  NOSA_RETURN_IF_ERROR(request.sampling.Validate());
  if (request.max_tokens < 0) return InvalidArgument("max_tokens must not be negative, found {}", request.max_tokens);
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    if (token >= 0 && token < model_->config().vocab_size) continue;
    return InvalidArgument("logit_bias names token {}, the vocabulary has {}", token, model_->config().vocab_size);
  }
  if (request.logprobs < -1) return InvalidArgument("logprobs must not be negative, found {}", request.logprobs);
  if (!request.stop.empty() && tokenizer_ == nullptr)
    return InvalidArgument("stop strings need a tokenizer, this model directory has none");
  for (const std::string& stop : request.stop) {
    if (stop.empty()) return InvalidArgument("a stop string must not be empty");
  }
  if (request.grammar != nullptr && request.ignore_eos)
    return InvalidArgument("a grammar says where the answer ends, which ignore_eos forbids");
  const int64_t total = static_cast<int64_t>(present) + request.max_tokens;
  if (total > model_->config().max_position) {
    return InvalidArgument("the model reads at most {} tokens, the prompt has {} and {} more are asked for",
                           model_->config().max_position, present, request.max_tokens);
  }
  return Status::Ok();
}

// Nothing when the request has no grammar.
Result<std::optional<Constraint>> Engine::BeginConstraint(const Request& request) {
  if (request.grammar == nullptr) return std::optional<Constraint>();
  NOSA_ASSIGN_OR_RETURN(Constraint constraint, constraints_.Begin(request.grammar));
  return std::optional<Constraint>(std::move(constraint));
}

namespace {

Status CheckIds(std::span<const TokenId> ids, int vocab) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab) continue;
    return InvalidArgument("token id {} at place {} is outside the vocabulary of {}", ids[i], i, vocab);
  }
  return Status::Ok();
}

// Starts an answer to what `tokens` now holds.
void BeginAnswer(Sequence* sequence, Request request, std::optional<Constraint> constraint,
                 std::shared_ptr<const text::Tokenizer> tokenizer) {
  sequence->request = std::move(request);
  sequence->request.sampling.masked = constraint.has_value();
  sequence->constraint.reset();
  if (constraint) sequence->constraint.emplace(*std::move(constraint));
  sequence->phase = Phase::kPrompt;
  sequence->prompt_end = sequence->answer_begin = static_cast<int>(sequence->tokens.size());
  sequence->cancelled = sequence->paused = false;
  sequence->logprobs.reset();
  sequence->result = RequestResult();
  sequence->result.prompt_tokens = sequence->prompt_end;
  sequence->hash = StreamHash();
  sequence->held.clear();
  if (tokenizer) sequence->detokenizer = std::make_unique<text::StreamingDetokenizer>(std::move(tokenizer));
}

}  // namespace

int Engine::ReserveTokens(const Request& request) const {
  return std::max(request.reserve_tokens, static_cast<int>(request.prompt.size()) + request.max_tokens);
}

Status Engine::Check(const Request& request) const {
  if (request.prompt.empty()) return InvalidArgument("the prompt has no tokens");
  NOSA_RETURN_IF_ERROR(CheckIds(request.prompt, model_->config().vocab_size));
  NOSA_RETURN_IF_ERROR(Validate(request, request.prompt.size()));
  return store_->CheckAlone(model_->SequenceNeeds(ReserveTokens(request)));
}

kv::TierBytes Engine::Charge(const Request& request) const {
  return store_->Charge(model_->SequenceNeeds(ReserveTokens(request)));
}

Result<RequestId> Engine::Submit(Request request) {
  NOSA_RETURN_IF_ERROR(Check(request));
  NOSA_ASSIGN_OR_RETURN(std::optional<Constraint> constraint, BeginConstraint(request));
  auto sequence = std::make_unique<Sequence>();
  kv::SharedPrefix shared;
  NOSA_ASSIGN_OR_RETURN(sequence->kv, store_->Open(model_->SequenceNeeds(ReserveTokens(request)),
                                                   Reusable(request, request.prompt), &shared));
  runner_->Forget(sequence->kv);
  sequence->tokens = request.prompt;
  BeginAnswer(sequence.get(), std::move(request), std::move(constraint), tokenizer_);
  LoadPrefix(*sequence, shared);
  size_t i = 0;
  while (i < sequences_.size() && sequences_[i] != nullptr) ++i;
  if (i == sequences_.size()) sequences_.emplace_back();
  sequence->id = RequestId(static_cast<int32_t>(i));
  sequences_[i] = std::move(sequence);
  return RequestId(static_cast<int32_t>(i));
}

Status Engine::Continue(RequestId id, int keep, std::vector<TokenId> tokens, Request request) {
  Sequence& sequence = At(id);
  NOSA_CHECK(sequence.phase == Phase::kFinished, "request {} is continued before it finished", id.value);
  if (!sequence.kv.valid()) return FailedPrecondition("the sequence is closed: it failed, or was not to be kept open");
  if (tokens.empty()) return InvalidArgument("a continuation has no tokens");
  NOSA_RETURN_IF_ERROR(CheckIds(tokens, model_->config().vocab_size));
  NOSA_CHECK(keep >= 0 && keep <= static_cast<int>(sequence.tokens.size()), "cannot keep {} of {} tokens", keep,
             sequence.tokens.size());
  const size_t total = static_cast<size_t>(keep) + tokens.size();
  NOSA_RETURN_IF_ERROR(Validate(request, total));
  NOSA_ASSIGN_OR_RETURN(std::optional<Constraint> constraint, BeginConstraint(request));
  const int64_t admitted = store_->max_tokens(sequence.kv);
  if (static_cast<int64_t>(total) + request.max_tokens > admitted) {
    return ResourceExhausted("the sequence was admitted for {} tokens, {} are needed", admitted,
                             total + static_cast<size_t>(request.max_tokens));
  }
  if (keep < store_->length(sequence.kv)) {
    const Status cut = CutTo(sequence, sequence.passes.WholeBefore(keep));
    if (!cut.ok()) {
      CloseCache(sequence);
      sequence.result.reason = FinishReason::kError;
      return sequence.result.error = cut;
    }
  }
  sequence.tokens.resize(static_cast<size_t>(keep));
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  BeginAnswer(&sequence, std::move(request), std::move(constraint), tokenizer_);
  return Status::Ok();
}

bool Engine::HasWork() const {
  return std::any_of(sequences_.begin(), sequences_.end(),
                     [](const auto& s) { return s != nullptr && s->phase != Phase::kFinished; });
}

void Engine::Cancel(RequestId id) { At(id).cancelled = true; }
const RequestResult& Engine::result(RequestId id) const { return At(id).result; }
const std::vector<TokenId>& Engine::tokens(RequestId id) const { return At(id).tokens; }

void Engine::Release(RequestId id) {
  Sequence& sequence = At(id);
  NOSA_CHECK(sequence.phase == Phase::kFinished, "request {} is released before it finished", id.value);
  CloseCache(sequence);
  sequences_[static_cast<size_t>(id.value)].reset();
}

void Engine::CloseCache(Sequence& sequence) {
  if (sequence.seat >= 0) seating_->Leave(sequence, false);
  if (sequence.kv.valid()) store_->Close(sequence.kv);
  sequence.kv = SeqId();
}

EngineStats Engine::stats() const {
  EngineStats stats = {
      store_->stats(), runner_->decode_locality(), runner_->prefill_locality(), {}, recomputed_blocks_};
  if (seating_ != nullptr) {
    stats.seating = seating_->stats();
    stats.decode_locality.shared += static_cast<double>(stats.seating.counters.repeated);
    stats.decode_locality.queries += static_cast<int64_t>(stats.seating.counters.selected_all);
  }
  return stats;
}

void Engine::SetPaused(RequestId id, bool paused) {
  Sequence& sequence = At(id);
  sequence.paused = paused;
  if (paused && sequence.seat >= 0) LeaveSeat(sequence);
}

// It keeps its cache; where its last selection was, the host does not know.
void Engine::LeaveSeat(Sequence& sequence) {
  seating_->Leave(sequence, true);
  runner_->Forget(sequence.kv);
}

RequestId Engine::NextPrompt() {
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const Sequence* sequence = sequences_[(next_prefill_ + i) % sequences_.size()].get();
    if (sequence == nullptr || sequence->phase != Phase::kPrompt || sequence->paused || sequence->cancelled) continue;
    next_prefill_ = (next_prefill_ + i + 1) % sequences_.size();
    return sequence->id;
  }
  return RequestId();
}

Status Engine::Step(RequestId prompt, std::vector<Event>* events) {
  for (const auto& sequence : sequences_) {
    if (sequence != nullptr && sequence->cancelled && sequence->phase != Phase::kFinished) {
      Finish(*sequence, FinishReason::kCancelled, Status::Ok(), events);
    }
  }
  // Answers first: a sequence whose prompt ends in this step has its first token from the prompt's logits already.
  StepDecode(events);
  if (!prompt.valid()) return Status::Ok();
  Sequence& sequence = At(prompt);
  NOSA_CHECK(!sequence.paused && sequence.phase != Phase::kAnswer, "request {} has no prompt to read on", prompt.value);
  if (sequence.phase == Phase::kPrompt) StepPrefill(sequence, events);
  return Status::Ok();
}

TensorView Engine::Logits(int rows) {
  if (rows == 0) return {};
  const Shape shape = {rows, model_->config().vocab_size};
  const size_t bytes = static_cast<size_t>(shape.elements()) * sizeof(float);
  ops::Grow(*backend_, bytes, backend_->shared_memory(), &logits_);
  return TensorView(logits_.data(), DType::kF32, shape);
}

// The next `tokens` tokens of one sequence in one pass.
Status Engine::RunChunk(Sequence& sequence, int tokens, bool prefill, TensorView logits,
                        model::SelectionRecord* record) {
  const int first = store_->length(sequence.kv);
  const model::PassRows rows = {sequence.kv, {sequence.tokens.data() + first, static_cast<size_t>(tokens)}};
  NOSA_RETURN_IF_ERROR(runner_->Forward({&rows, 1}, prefill, logits, record));
  sequence.passes.Add(first, tokens, prefill);
  return Status::Ok();
}

namespace {

std::span<const float> RowOf(ConstTensorView logits, int64_t row) {
  return {logits.row<float>(row), static_cast<size_t>(logits.RowElements())};
}

}  // namespace

void Engine::StepPrefill(Sequence& sequence, std::vector<Event>* events) {
  const Stopwatch watch;
  ReusePrefix(sequence);
  const int done = store_->length(sequence.kv);
  const int chunk = options_.prefill_chunk;
  const int end = std::min(sequence.prompt_end, (done / chunk + 1) * chunk);
  const bool last = end == sequence.prompt_end;
  const int wanted_from = sequence.prompt_end - sequence.request.prompt_logits;
  const int wanted = std::max(0, end - std::max(done, wanted_from));
  const TensorView logits = Logits(std::max(wanted, last && sequence.request.max_tokens > 0 ? 1 : 0));
  model::SelectionRecord* record = wanted > 0 && sequence.request.record_selection ? &record_ : nullptr;
  const Status status = WithRepair(sequence, [&] { return RunChunk(sequence, end - done, true, logits, record); });
  sequence.result.prefill_seconds += watch.Seconds();
  sequence.result.prefill_tokens += end - done;
  if (!status.ok()) return Finish(sequence, FinishReason::kError, status, events);
  KeepPrefix(sequence);

  events->push_back({.kind = Event::Kind::kPromptProgress,
                     .request = sequence.id,
                     .prompt_done = end,
                     .prompt_tokens = sequence.prompt_end});
  if (wanted > 0) {
    events->push_back({.kind = Event::Kind::kPromptLogits,
                       .request = sequence.id,
                       .first_pos = end - wanted,
                       .logits = logits,
                       .selection = record,
                       .selection_first_row = end - wanted - done});
  }
  if (!last) return;
  if (sequence.request.max_tokens == 0) return Finish(sequence, FinishReason::kLength, Status::Ok(), events);
  sequence.phase = Phase::kAnswer;
  sequence.answers_from = ++answers_begun_;
  if (sequence.constraint && sequence.constraint->complete())
    return Finish(sequence, FinishReason::kEos, Status::Ok(), events);
  Emit(sequence, Draw(sequence, RowOf(logits, logits.rows() - 1)), events);
}

Status Engine::ForwardDecode(std::span<Sequence* const> batch, TensorView logits, model::SelectionRecord* record) {
  std::vector<model::PassRows> rows;
  for (const Sequence* sequence : batch) {
    rows.push_back({sequence->kv, {sequence->tokens.data() + store_->length(sequence->kv), 1}});
  }
  NOSA_RETURN_IF_ERROR(runner_->Forward(rows, false, logits, record));
  for (Sequence* sequence : batch) sequence->passes.Add(store_->length(sequence->kv) - 1, 1, false);
  return Status::Ok();
}

void Engine::StepDecode(std::vector<Event>* events) {
  std::vector<Sequence*> planned;
  for (const auto& sequence : sequences_) {
    if (sequence == nullptr || sequence->phase != Phase::kAnswer || sequence->paused) continue;
    if (seating_ == nullptr || !seating_->Suits(*sequence)) planned.push_back(sequence.get());
  }
  if (seating_ != nullptr) StepSeats(events);
  if (!planned.empty()) StepPlanned(planned, events);
}

void Engine::FillSeats() {
  while (!seating_->full()) {
    Sequence* next = nullptr;
    for (const auto& sequence : sequences_) {
      if (sequence == nullptr || sequence->phase != Phase::kAnswer || sequence->paused || sequence->seat >= 0) continue;
      if (!seating_->Suits(*sequence)) continue;
      if (next == nullptr || sequence->answers_from < next->answers_from) next = sequence.get();
    }
    if (next == nullptr) return;
    seating_->Sit(*next);
  }
}

void Engine::StepSeats(std::vector<Event>* events) {
  const Stopwatch watch;
  FillSeats();
  std::vector<Sequence*> seated;
  for (const auto& sequence : sequences_) {
    if (sequence != nullptr && sequence->seat >= 0) seated.push_back(sequence.get());
  }
  if (seated.empty()) return;
  const Status status = seating_->Step();
  const double seconds = watch.Seconds();
  for (Sequence* sequence : seated) {
    sequence->result.decode_seconds += seconds;
    ++sequence->result.decode_tokens;
    if (!status.ok()) {
      Finish(*sequence, FinishReason::kError, status, events);
      continue;
    }
    TokenId token = seating_->token(*sequence);
    if (sequence->request.needs_logits()) {
      token = Draw(*sequence, seating_->Logits(*sequence));
      seating_->SetToken(*sequence, token);
    }
    Emit(*sequence, token, events);
  }
}

void Engine::StepPlanned(std::span<Sequence* const> batch, std::vector<Event>* events) {
  const Stopwatch watch;
  const TensorView logits = Logits(static_cast<int>(batch.size()));
  const bool recorded =
      std::any_of(batch.begin(), batch.end(), [](const Sequence* s) { return s->request.record_decode; });
  decode_records_.resize(batch.size());
  const auto record = [&](size_t i) { return recorded ? &decode_records_[i] : nullptr; };
  std::vector<Status> outcomes(batch.size(), ForwardDecode(batch, logits, record(0)));
  const bool together = outcomes.front().ok();
  if (!together) {
    // Whose failure it was shows when each goes alone, which changes nobody's bits. All have extended their running
    // sums by the token that did not come through.
    for (size_t i = 0; i < batch.size(); ++i) {
      outcomes[i] = Repair(*batch[i]);
      if (!outcomes[i].ok()) continue;
      outcomes[i] = WithRepair(*batch[i], [&] {
        return ForwardDecode({&batch[i], 1}, logits.Rows(static_cast<int64_t>(i), 1), record(i));
      });
    }
  }
  const double seconds = watch.Seconds();
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i]->result.decode_seconds += seconds;
    ++batch[i]->result.decode_tokens;
    if (!outcomes[i].ok()) {
      Finish(*batch[i], FinishReason::kError, outcomes[i], events);
      continue;
    }
    Event event;
    if (batch[i]->request.record_decode) {
      event.selection = record(together ? 0 : i);
      event.selection_first_row = together ? static_cast<int>(i) : 0;
      event.first_pos = store_->length(batch[i]->kv) - 1;
    }
    Emit(*batch[i], Draw(*batch[i], RowOf(logits, static_cast<int64_t>(i))), events, std::move(event));
  }
}

// Runs `attempt`; when it meets a damaged block, computes that block again and runs it once more.
Status Engine::WithRepair(Sequence& sequence, const std::function<Status()>& attempt) {
  Status status = attempt();
  for (int repairs = 0; status.code() == StatusCode::kDataLoss && repairs < kMostRepairs; ++repairs) {
    NOSA_RETURN_IF_ERROR(Repair(sequence));
    status = attempt();
  }
  return status;
}

// Brings a sequence back to its committed length with every block sound. What is damaged is made again by the passes
// that made it, from a block boundary before the damage on: the same passes give the same bits. After a failure the
// sequence may be shorter than its tokens say, so it must not take another step.
Status Engine::Repair(Sequence& sequence) {
  const int goal = store_->length(sequence.kv);
  const std::vector<Pass> all = sequence.passes.passes();
  for (int repairs = 0; repairs < kMostRepairs; ++repairs) {
    const int length = store_->length(sequence.kv);
    const BlockId lost = store_->TakeLostBlock(sequence.kv);
    int restart = length;
    if (lost.valid()) {
      restart = sequence.passes.RestartBefore(lost.value * store_->layout().block_size, store_->layout().block_size);
      LogWarn("block {} came back damaged: computing tokens {} to {} again", lost.value, restart, goal);
      ++recomputed_blocks_;
      NOSA_RETURN_IF_ERROR(store_->Truncate(sequence.kv, restart));
      sequence.passes.Cut(restart);
    }
    Status status = runner_->Restore(sequence.kv);
    PassLog log;
    for (const Pass& pass : all) log.Add(pass.first, pass.tokens, pass.prefill);
    for (const Pass& pass : log.From(restart)) {
      const int step = pass.prefill ? pass.tokens : 1;
      for (int done = 0; done < pass.tokens && status.ok(); done += step)
        status = RunChunk(sequence, step, pass.prefill, {}, nullptr);
    }
    if (status.ok()) return Status::Ok();
    if (status.code() != StatusCode::kDataLoss) return status;
  }
  return DataLoss(
      "blocks of this sequence came back damaged {} times in a row: the KV disk does not keep what is written",
      kMostRepairs);
}

// Truncates to `tokens`, which may lie inside a block that is to be read again and may be damaged.
Status Engine::CutTo(Sequence& sequence, int tokens) {
  for (int repairs = 0; repairs < kMostRepairs; ++repairs) {
    Status status = store_->Truncate(sequence.kv, tokens);
    if (status.ok()) {
      sequence.passes.Cut(tokens);
      status = runner_->Restore(sequence.kv);
      if (status.code() == StatusCode::kDataLoss) status = Repair(sequence);
      return status;
    }
    if (status.code() != StatusCode::kDataLoss) return status;
    NOSA_RETURN_IF_ERROR(Repair(sequence));
  }
  return DataLoss("the block of token {} came back damaged {} times in a row", tokens, kMostRepairs);
}

TokenId Engine::Draw(Sequence& sequence, std::span<const float> logits) {
  if (sequence.request.fingerprint) {
    sequence.hash.Update(std::as_bytes(logits));
    sequence.result.fingerprint = sequence.hash.Digest();
  }
  const TokenPos pos = static_cast<TokenPos>(sequence.tokens.size());
  const text::TokenMask* mask = sequence.constraint ? &sequence.constraint->mask() : nullptr;
  const TokenId token =
      sampler_.Sample(logits, sequence.request.sampling, {sequence.tokens, sequence.result.ids.size()}, pos, mask);
  if (sequence.request.logprobs >= 0) sequence.logprobs = LogprobsOf(logits, token, sequence.request.logprobs);
  return token;
}

void Engine::Emit(Sequence& sequence, TokenId token, std::vector<Event>* events, Event event) {
  const std::vector<TokenId>& eos = model_->config().eos_tokens;
  if (!sequence.request.ignore_eos && std::find(eos.begin(), eos.end(), token) != eos.end()) {
    return Finish(sequence, FinishReason::kEos, Status::Ok(), events);
  }
  sequence.tokens.push_back(token);
  sequence.result.ids.push_back(token);
  event.kind = Event::Kind::kToken;
  event.request = sequence.id;
  event.token = token;
  event.logprobs = std::exchange(sequence.logprobs, std::nullopt);
  bool stopped = false;
  if (sequence.detokenizer != nullptr) {
    sequence.held += sequence.detokenizer->Push(token);
    const size_t certain = CertainText(sequence.held, sequence.request.stop, &stopped);
    event.text = sequence.held.substr(0, certain);
    sequence.held.erase(0, stopped ? sequence.held.size() : certain);
    sequence.result.text += event.text;
  }
  events->push_back(std::move(event));
  if (stopped) return Finish(sequence, FinishReason::kStop, Status::Ok(), events);
  if (sequence.constraint) {
    sequence.constraint->Accept(token);
    if (sequence.constraint->complete()) return Finish(sequence, FinishReason::kEos, Status::Ok(), events);
    if (sequence.constraint->stuck()) {
      const Status stuck = FailedPrecondition("no token of this model goes on with the text in the grammar");
      return Finish(sequence, FinishReason::kError, stuck, events);
    }
  }
  if (static_cast<int>(sequence.tokens.size()) - sequence.answer_begin >= sequence.request.max_tokens) {
    Finish(sequence, FinishReason::kLength, Status::Ok(), events);
  }
}

void Engine::Finish(Sequence& sequence, FinishReason reason, Status error, std::vector<Event>* events) {
  Event event = {.kind = Event::Kind::kFinished, .request = sequence.id, .reason = reason, .error = error};
  if (sequence.detokenizer != nullptr && reason != FinishReason::kStop) {
    event.text = sequence.held + sequence.detokenizer->Finish();
    sequence.result.text += event.text;
  }
  sequence.held.clear();
  sequence.phase = Phase::kFinished;
  sequence.result.reason = reason;
  sequence.result.error = std::move(error);
  // What failed or was given up holds nothing longer than it must.
  if (reason == FinishReason::kError || !sequence.request.keep_open) CloseCache(sequence);
  if (sequence.seat >= 0) LeaveSeat(sequence);  // for Continue
  events->push_back(std::move(event));
}

}  // namespace nosa::engine

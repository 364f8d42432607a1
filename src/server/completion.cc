#include "server/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "server/random_id.h"
#include "text/utf8.h"

namespace nosa::server {
namespace {

using io::OrderedJson;
using MaybeError = std::optional<ApiError>;
using std::chrono::milliseconds;

// Between two looks whether the client is still there.
constexpr milliseconds kAliveCheck(200);
// Proxies commonly give up on a silent connection after half a minute or more.
constexpr double kKeepAliveSeconds = 10;
// Events that are there already go out together, up to about this many bytes.
constexpr size_t kBatchBytes = 16 << 10;

ApiError TooLong(const App& app, size_t prompt, int answer) {
  return {.message =
              fmt::format("This model's maximum context length is {} tokens. However, you requested {} tokens ({} in "
                          "the prompt, {} in the completion). Please reduce the length of the prompt or completion.",
                          app.context, prompt + static_cast<size_t>(answer), prompt, answer),
          .param = "messages",
          .code = "context_length_exceeded"};
}

// Different draws for each choice of a prompt; the first has the seed itself.
uint64_t SeedOf(uint64_t seed, int choice) {
  return seed + static_cast<uint64_t>(choice) * 0x9E3779B97F4A7C15u;  // 2^64 over the golden ratio: far apart
}

}  // namespace

int64_t UnixNow() { return static_cast<int64_t>(std::time(nullptr)); }

MaybeError ParseBody(const HttpRequest& request, OrderedJson* body) {
  Result<OrderedJson> parsed = io::ParseOrderedJson(request.body, "the body");
  if (!parsed.ok())
    return ApiError{.message =
                        fmt::format("We could not parse the JSON body of your request: {}", parsed.status().message())};
  *body = *std::move(parsed);
  return std::nullopt;
}

MaybeError CheckModel(const App& app, const std::string& name) {
  if (std::find(app.model_names.begin(), app.model_names.end(), name) != app.model_names.end()) return std::nullopt;
  return ApiError{.http_status = 404,
                  .message = fmt::format("The model `{}` does not exist or you do not have access to it.", name),
                  .param = "model",
                  .code = "model_not_found"};
}

MaybeError Start(App& app, const HttpRequest& request, const CompletionPlan& plan,
                 std::unique_ptr<Generation>* generation) {
  const GenerationParams& params = plan.params;
  const uint64_t seed = params.seed.value_or(RandomSeed());
  std::vector<engine::ServiceRequest> requests;
  for (const std::vector<TokenId>& prompt : plan.prompts) {
    const int left = app.context - static_cast<int>(std::min(prompt.size(), static_cast<size_t>(app.context)));
    const int answer = params.max_tokens.value_or(std::min(app.default_max_tokens, left));
    const bool too_long = prompt.size() > static_cast<size_t>(app.context) || answer > left;
    // A context that is full to the last token leaves no room for an answer.
    if (too_long || (answer == 0 && !plan.echo)) return TooLong(app, prompt.size(), std::max(answer, 1));
    for (int i = 0; i < plan.answers; ++i) {
      engine::ServiceRequest& one = requests.emplace_back();
      one.request = params.request;
      one.request.prompt = prompt;
      one.request.max_tokens = answer;
      one.request.sampling.seed = SeedOf(seed, i);
      one.tenant = request.tenant;
      one.deadline = app.deadline;
      // The best of many are chosen by them.
      one.logprobs = plan.answers > params.choices ? std::max(params.logprobs, 0) : params.logprobs;
      one.prompt_logprobs = plan.echo ? params.logprobs : -1;
    }
  }
  return Generation::Submit(app, std::move(requests), generation);
}

MaybeError FailureOf(const engine::AnswerEvent& finished) {
  if (!finished.error.ok()) return ErrorOf(finished.error);
  if (finished.reason == engine::FinishReason::kCancelled) return ErrorOf(Cancelled("The answer was cancelled."));
  return std::nullopt;
}

void AddUsage(const engine::Usage& usage, bool first_of_prompt, UsageSum* sum) {
  sum->generated_tokens += usage.generated_tokens;
  if (!first_of_prompt) return;
  sum->prompt_tokens += usage.prompt_tokens;
  sum->cached_tokens += usage.cached_tokens;
}

std::string UsageNote(const UsageSum& usage) {
  return fmt::format("{} + {} tokens", usage.prompt_tokens, usage.generated_tokens);
}

std::string PromptText(const text::Tokenizer& tokenizer, std::span<const TokenId> prompt) {
  const Result<std::string> bytes = tokenizer.Decode(prompt, /*keep_special=*/true);
  std::string text;
  // Ids outside the vocabulary were refused before.
  if (bytes.ok()) text::AppendWellFormed(*bytes, /*more_follows=*/false, &text);
  return text;
}

Outcome Collect(App& app, const HttpRequest& request, const CompletionPlan& plan, Generation* generation) {
  using Kind = engine::AnswerEvent::Kind;
  Outcome outcome;
  const auto per_prompt = static_cast<size_t>(plan.answers);
  for (size_t i = 0; i < plan.prompts.size() * per_prompt; ++i) {
    Choice& choice = outcome.choices.emplace_back();
    choice.index = static_cast<int>(i);
    choice.wants_logprobs = plan.params.logprobs >= 0;
    if (plan.echo) choice.text = PromptText(*app.tokenizer, plan.prompts[i / per_prompt]);
  }
  Stopwatch since_look;
  while (!generation->finished()) {
    std::optional<Generation::Item> item = generation->Next(kAliveCheck);
    if (!item || since_look.Seconds() > 0.2) {
      since_look.Restart();
      if (!request.alive()) {
        generation->Abandon();
        outcome.error = {.http_status = 499, .message = "The client left."};
        return outcome;
      }
    }
    if (!item) continue;
    engine::AnswerEvent& event = item->event;
    Choice& choice = outcome.choices[item->answer];
    choice.text += event.text;
    if (event.kind == Kind::kPromptLogprobs) {
      std::move(event.prompt_logprobs.begin(), event.prompt_logprobs.end(), std::back_inserter(choice.logprobs));
    }
    if (event.logprobs) choice.logprobs.push_back(*std::move(event.logprobs));
    if (event.kind != Kind::kFinished) continue;
    if (auto error = FailureOf(event)) {
      outcome.error = std::move(error);
      return outcome;
    }
    choice.reason = event.reason;
    choice.usage = event.usage;
    AddUsage(event.usage, item->answer % per_prompt == 0, &outcome.usage);
  }
  return outcome;
}

CompletionStream::CompletionStream(App& app, CompletionPlan plan, ResponseHead head,
                                   std::unique_ptr<Generation> generation)
    : app_(app), plan_(std::move(plan)), head_(std::move(head)), generation_(std::move(generation)) {}

void CompletionStream::Send(OrderedJson chunk, std::string* out) const {
  if (plan_.params.include_usage && !chunk.contains("usage")) chunk["usage"] = nullptr;
  *out += SseEvent(chunk);
}

void CompletionStream::SendProgress(size_t answer, OrderedJson progress, std::string* out) const {
  progress["answer_id"] = generation_->answer_id(answer);
  if (plan_.answers > 1 || plan_.prompts.size() > 1) progress["index"] = index(answer);
  OrderedJson chunk;
  chunk["id"] = head_.id;
  chunk["object"] = object();
  chunk["created"] = head_.created;
  chunk["model"] = head_.model;
  chunk["choices"] = OrderedJson::array();
  chunk["nosa"] = std::move(progress);
  Send(std::move(chunk), out);
}

void CompletionStream::Handle(const Generation::Item& item, std::string* out) {
  using Kind = engine::AnswerEvent::Kind;
  const engine::AnswerEvent& event = item.event;
  switch (event.kind) {
    case Kind::kQueued:
      if (plan_.params.progress) SendProgress(item.answer, {{"queue_place", event.queue_place}}, out);
      break;
    case Kind::kProgress:
      if (plan_.params.progress)
        SendProgress(item.answer, {{"prompt_done", event.prompt_done}, {"prompt_tokens", event.prompt_tokens}}, out);
      break;
    case Kind::kPromptLogprobs: PromptLogprobs(item.answer, event.prompt_logprobs); break;
    case Kind::kToken: Token(item.answer, event, out); break;
    case Kind::kFinished:
      if (const MaybeError error = FailureOf(event)) {
        *out += SseEvent(ToJson(*error));
        failed_ = true;
        break;
      }
      Finish(item.answer, event, out);
      AddUsage(event.usage, item.answer % static_cast<size_t>(plan_.answers) == 0, &usage_);
      break;
  }
}

void CompletionStream::Run(BodyWriter& out) {
  std::string buffer;
  for (size_t i = 0; i < plan_.prompts.size() * static_cast<size_t>(plan_.answers); ++i) {
    Begin(i, &buffer);
    if (plan_.params.progress)
      SendProgress(
          i, {{"prompt_done", 0}, {"prompt_tokens", plan_.prompts[i / static_cast<size_t>(plan_.answers)].size()}},
          &buffer);
  }
  Stopwatch silent;
  while (true) {
    if (!buffer.empty()) {
      if (!out.Write(buffer)) return generation_->Abandon();
      buffer.clear();
      silent.Restart();
    }
    // A failure ends the stream: clients do not read on.
    if (generation_->finished() || failed_) break;
    std::optional<Generation::Item> item = generation_->Next(kAliveCheck);
    if (!item && !out.Alive()) return generation_->Abandon();
    if (!item && silent.Seconds() > kKeepAliveSeconds) buffer = kSseKeepAlive;
    for (; item; item = generation_->Next(milliseconds(0))) {
      Handle(*item, &buffer);
      if (failed_ || buffer.size() > kBatchBytes) break;
    }
  }
  if (!failed_ && plan_.params.include_usage) buffer += SseEvent(UsageChunk(head_, object(), usage_));
  buffer += kSseDone;
  out.Note(UsageNote(usage_));
  out.Write(buffer);
}

HttpReply StreamReply(std::shared_ptr<CompletionStream> stream) {
  HttpReply reply = {.content_type = "text/event-stream"};
  // Proxies must not hold events back.
  reply.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  reply.stream = [stream = std::move(stream)](BodyWriter& out) { stream->Run(out); };
  return reply;
}

}  // namespace nosa::server

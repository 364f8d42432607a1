// What chat and text completions have in common: from parsed parameters to answers, whole or as a stream of events.
// Private to the handlers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/app.h"
#include "server/generation.h"
#include "server/http.h"
#include "server/responses.h"

namespace nosa::server {

// The body as JSON, for a handler to check.
std::optional<ApiError> ParseBody(const HttpRequest& request, io::OrderedJson* body);

// 404 when `name` is none of the model's.
std::optional<ApiError> CheckModel(const App& app, const std::string& name);

// What is submitted: `answers` of each prompt.
struct CompletionPlan {
  GenerationParams params;
  std::vector<std::vector<TokenId>> prompts;
  int answers = 1;
  bool echo = false;
};

// Submits plan.prompts x plan.answers, those of a prompt after each other. 400 where a prompt and its answer are more
// tokens than the context; without max_tokens an answer gets what is left, up to the server's default.
std::optional<ApiError> Start(App& app, const HttpRequest& request, const CompletionPlan& plan,
                              std::unique_ptr<Generation>* generation);

// What the last event of an answer says went wrong.
std::optional<ApiError> FailureOf(const engine::AnswerEvent& finished);

// Adds an answer's usage: its prompt, when it is the first of that prompt, and its tokens.
void AddUsage(const engine::Usage& usage, bool first_of_prompt, UsageSum* sum);

struct Outcome {
  std::vector<Choice> choices;  // one an answer, index as submitted
  UsageSum usage;
  std::optional<ApiError> error;  // of the first that failed; the others were cancelled
};
// Reads all to their ends. When the client leaves, the answers are cancelled and `error` is 499, for the log.
Outcome Collect(App& app, const HttpRequest& request, const CompletionPlan& plan, Generation* generation);

// "34 + 128 tokens", for the access log.
std::string UsageNote(const UsageSum& usage);

// The prompt's text as echo gives it.
std::string PromptText(const text::Tokenizer& tokenizer, std::span<const TokenId> prompt);

// A stream of server-sent events: how a chunk looks is the subclass's.
class CompletionStream {
 public:
  CompletionStream(App& app, CompletionPlan plan, ResponseHead head, std::unique_ptr<Generation> generation);
  virtual ~CompletionStream() = default;
  // Writes all events to the end, or until the client is gone.
  void Run(BodyWriter& out);

 protected:
  // Each appends events to *out.
  virtual void Begin(size_t answer, std::string* out) = 0;
  virtual void PromptLogprobs(size_t answer, std::vector<engine::PositionLogprobs> logprobs) = 0;
  // `event`: kToken.
  virtual void Token(size_t answer, const engine::AnswerEvent& event, std::string* out) = 0;
  // `event`: kFinished, not a failure.
  virtual void Finish(size_t answer, const engine::AnswerEvent& event, std::string* out) = 0;
  virtual std::string_view object() const = 0;

  // One event. With include_usage every chunk but the last says "usage": null.
  void Send(io::OrderedJson chunk, std::string* out) const;
  int index(size_t answer) const { return static_cast<int>(answer); }
  bool wants_logprobs() const { return plan_.params.logprobs >= 0; }

  App& app_;
  const CompletionPlan plan_;
  const ResponseHead head_;

 private:
  void Handle(const Generation::Item& item, std::string* out);
  void SendProgress(size_t answer, io::OrderedJson progress, std::string* out) const;

  std::unique_ptr<Generation> generation_;
  UsageSum usage_;
  bool failed_ = false;
};

// The reply that runs `stream`.
HttpReply StreamReply(std::shared_ptr<CompletionStream> stream);

// Now, in Unix seconds.
int64_t UnixNow();

}  // namespace nosa::server

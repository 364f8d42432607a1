// POST /v1/completions
#include <algorithm>
#include <numeric>

#include "server/completion.h"
#include "server/completion_request.h"
#include "server/random_id.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

class TextStream final : public CompletionStream {
 public:
  TextStream(App& app, CompletionPlan plan, ResponseHead head, std::unique_ptr<Generation> generation)
      : CompletionStream(app, std::move(plan), std::move(head), std::move(generation)),
        choices_(plan_.prompts.size() * static_cast<size_t>(plan_.answers)) {}

 private:
  struct Writing {
    bool echoed = false;
    int64_t offset = 0;                              // characters that logprobs were told of
    std::vector<engine::PositionLogprobs> logprobs;  // not sent yet
  };

  std::string_view object() const override { return "text_completion"; }

  void Begin(size_t, std::string*) override {}

  void PromptLogprobs(size_t answer, std::vector<engine::PositionLogprobs> logprobs) override {
    std::move(logprobs.begin(), logprobs.end(), std::back_inserter(choices_[answer].logprobs));
  }

  void SendText(size_t answer, std::string text, io::OrderedJson finish, std::string* out) {
    Writing& writing = choices_[answer];
    // The prompt comes with the first piece, when its logprobs are there.
    if (plan_.echo && !writing.echoed)
      text.insert(0, PromptText(*app_.tokenizer, plan_.prompts[answer / static_cast<size_t>(plan_.answers)]));
    writing.echoed = true;
    io::OrderedJson chunk = TextChunk(head_, index(answer), text);
    if (!writing.logprobs.empty()) {
      chunk["choices"][0]["logprobs"] = TextLogprobsJson(writing.logprobs, *app_.tokenizer, &writing.offset);
      writing.logprobs.clear();
    }
    chunk["choices"][0]["finish_reason"] = std::move(finish);
    Send(std::move(chunk), out);
  }

  void Token(size_t answer, const engine::AnswerEvent& event, std::string* out) override {
    if (event.logprobs) choices_[answer].logprobs.push_back(*event.logprobs);
    if (!event.text.empty() || event.logprobs) SendText(answer, event.text, nullptr, out);
  }

  void Finish(size_t answer, const engine::AnswerEvent& event, std::string* out) override {
    SendText(answer, event.text, FinishJson(event.reason), out);
  }

  std::vector<Writing> choices_;
};

// Of the generated tokens; with echo the prompt's are before them.
double MeanLogprob(const Choice& choice) {
  const size_t generated =
      std::min(choice.logprobs.size(), static_cast<size_t>(std::max(choice.usage.generated_tokens, 0)));
  if (generated == 0) return 0;
  const auto add = [](double sum, const engine::PositionLogprobs& p) { return sum + p.token.logprob; };
  const auto begin = choice.logprobs.end() - static_cast<std::ptrdiff_t>(generated);
  return std::accumulate(begin, choice.logprobs.end(), 0.0, add) / static_cast<double>(generated);
}

// Of each prompt's best_of choices the n likeliest, numbered anew.
void KeepBest(const CompletionRequest& request, std::vector<Choice>* choices) {
  const auto all = static_cast<size_t>(request.best_of), kept = static_cast<size_t>(request.params.choices);
  std::vector<Choice> best;
  for (size_t first = 0; first < choices->size(); first += all) {
    const auto begin = choices->begin() + static_cast<std::ptrdiff_t>(first);
    std::stable_sort(begin, begin + request.best_of,
                     [](const Choice& a, const Choice& b) { return MeanLogprob(a) > MeanLogprob(b); });
    for (size_t i = 0; i < kept; ++i) {
      best.push_back(std::move((*choices)[first + i]));
      best.back().index = static_cast<int>(best.size() - 1);
    }
  }
  *choices = std::move(best);
}

}  // namespace

HttpReply Completions(App& app, const HttpRequest& request) {
  io::OrderedJson body;
  CompletionRequest completion;
  if (auto error = ParseBody(request, &body)) return ToReply(*error);
  if (auto error = ParseCompletionRequest(body, *app.tokenizer, app.limits, &app.grammars, &completion))
    return ToReply(*error);
  if (auto error = CheckModel(app, completion.params.model)) return ToReply(*error);
  CompletionPlan plan = {completion.params, std::move(completion.prompts), completion.best_of, completion.echo};
  std::unique_ptr<Generation> generation;
  if (auto error = Start(app, request, plan, &generation)) return ToReply(*error);
  ResponseHead head = {RandomId("cmpl-"), UnixNow(), app.model_names.front()};
  if (plan.params.stream)
    return StreamReply(std::make_shared<TextStream>(app, std::move(plan), std::move(head), std::move(generation)));
  Outcome outcome = Collect(app, request, plan, generation.get());
  if (outcome.error) return ToReply(*outcome.error);
  if (completion.best_of > completion.params.choices) KeepBest(completion, &outcome.choices);
  HttpReply reply;
  reply.body = io::DumpJson(TextJson(head, outcome.choices, outcome.usage, *app.tokenizer));
  reply.note = UsageNote(outcome.usage);
  return reply;
}

}  // namespace nosa::server

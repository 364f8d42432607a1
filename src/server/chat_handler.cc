// POST /v1/chat/completions
#include "server/chat_request.h"
#include "server/completion.h"
#include "server/random_id.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

using io::OrderedJson;

class ChatStream final : public CompletionStream {
 public:
  ChatStream(App& app, CompletionPlan plan, ToolRequest tools, ResponseHead head,
             std::unique_ptr<Generation> generation)
      : CompletionStream(app, std::move(plan), std::move(head), std::move(generation)),
        tools_(std::move(tools)),
        choices_(static_cast<size_t>(plan_.answers)) {}

 private:
  // Where a choice stands.
  struct Writing {
    std::string text;                                // all of it, where calls may be in it
    size_t sent = 0;                                 // bytes of it that went out
    std::vector<engine::PositionLogprobs> logprobs;  // not sent yet
  };

  std::string_view object() const override { return "chat.completion.chunk"; }

  void Begin(size_t answer, std::string* out) override {
    Send(ChatChunk(head_, index(answer), {{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}}), out);
  }

  void PromptLogprobs(size_t, std::vector<engine::PositionLogprobs>) override {}  // chats ask for none

  void SendDelta(size_t answer, OrderedJson delta, OrderedJson finish, std::string* out) {
    Writing& writing = choices_[answer];
    OrderedJson chunk = ChatChunk(head_, index(answer), std::move(delta));
    if (!writing.logprobs.empty()) {
      chunk["choices"][0]["logprobs"] = ChatLogprobsJson(writing.logprobs, *app_.tokenizer);
      writing.logprobs.clear();
    }
    chunk["choices"][0]["finish_reason"] = std::move(finish);
    Send(std::move(chunk), out);
  }

  void Token(size_t answer, const engine::AnswerEvent& event, std::string* out) override {
    Writing& writing = choices_[answer];
    if (event.logprobs) writing.logprobs.push_back(*event.logprobs);
    if (!MayCall()) {
      // A token's logprobs go out with it, though its text may be held back as part of a character.
      if (!event.text.empty() || event.logprobs) SendDelta(answer, {{"content", event.text}}, nullptr, out);
      return;
    }
    writing.text += event.text;
    if (tools_.choice.kind == ToolChoice::Kind::kForced) return;  // a call is sent whole
    const size_t certain = CertainContent(writing.text);
    if (certain <= writing.sent) return;
    SendDelta(answer, {{"content", writing.text.substr(writing.sent, certain - writing.sent)}}, nullptr, out);
    writing.sent = certain;
  }

  void Finish(size_t answer, const engine::AnswerEvent& event, std::string* out) override {
    Writing& writing = choices_[answer];
    bool called = false;
    std::string rest = event.text;
    if (MayCall()) {
      writing.text += event.text;
      const ParsedAnswer parsed = ParseAnswer(writing.text, tools_);
      called = !parsed.calls.empty();
      rest = parsed.content.substr(std::min(writing.sent, parsed.content.size()));
      if (called) {
        if (!rest.empty()) SendDelta(answer, {{"content", rest}}, nullptr, out);
        rest.clear();
        SendDelta(answer, {{"tool_calls", CallsJson(parsed.calls, true)}}, nullptr, out);
      }
    }
    if (!rest.empty()) SendDelta(answer, {{"content", rest}}, nullptr, out);
    SendDelta(answer, OrderedJson::object(), FinishJson(event.reason, called), out);
  }

  bool MayCall() const { return tools_.choice.kind != ToolChoice::Kind::kNone; }

  const ToolRequest tools_;
  std::vector<Writing> choices_;
};

}  // namespace

HttpReply ChatCompletions(App& app, const HttpRequest& request) {
  OrderedJson body;
  ChatRequest chat;
  if (auto error = ParseBody(request, &body)) return ToReply(*error);
  if (auto error = ParseChatRequest(body, *app.tokenizer, app.chat, app.limits, &app.grammars, &chat))
    return ToReply(*error);
  if (auto error = CheckModel(app, chat.params.model)) return ToReply(*error);
  CompletionPlan plan = {chat.params, {std::move(chat.prompt)}, chat.params.choices};
  std::unique_ptr<Generation> generation;
  if (auto error = Start(app, request, plan, &generation)) return ToReply(*error);
  ResponseHead head = {RandomId("chatcmpl-"), UnixNow(), app.model_names.front()};
  if (plan.params.stream) {
    return StreamReply(std::make_shared<ChatStream>(app, std::move(plan), std::move(chat.tools), std::move(head),
                                                    std::move(generation)));
  }
  const Outcome outcome = Collect(app, request, plan, generation.get());
  if (outcome.error) return ToReply(*outcome.error);
  HttpReply reply;
  reply.body = io::DumpJson(ChatJson(head, outcome.choices, chat.tools, outcome.usage, *app.tokenizer));
  reply.note = UsageNote(outcome.usage);
  return reply;
}

}  // namespace nosa::server

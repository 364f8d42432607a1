// POST /v1/chat/completions
#include "server/answer_calls.h"
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
        choices_(static_cast<size_t>(plan_.answers), Writing{.reader = AnswerReader(tools_)}) {}

 private:
  // Where a choice stands.
  struct Writing {
    AnswerReader reader;                                  // where calls may be in it
    int calls = 0;                                        // that were begun
    std::vector<engine::PositionLogprobs> logprobs = {};  // not sent yet
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
    std::vector<AnswerPiece> pieces;
    writing.reader.Add(event.text, &pieces);
    SendPieces(answer, pieces, out);
  }

  void Finish(size_t answer, const engine::AnswerEvent& event, std::string* out) override {
    Writing& writing = choices_[answer];
    if (MayCall()) {
      std::vector<AnswerPiece> pieces;
      writing.reader.Add(event.text, &pieces);
      writing.reader.Finish(&pieces);
      SendPieces(answer, pieces, out);
    } else if (!event.text.empty()) {
      SendDelta(answer, {{"content", event.text}}, nullptr, out);
    }
    SendDelta(answer, OrderedJson::object(), FinishJson(event.reason, writing.calls > 0), out);
  }

  void SendPieces(size_t answer, std::span<const AnswerPiece> pieces, std::string* out) {
    int& calls = choices_[answer].calls;
    for (const AnswerPiece& piece : pieces) {
      OrderedJson delta;
      switch (piece.kind) {
        case AnswerPiece::Kind::kContent: delta["content"] = piece.text; break;
        case AnswerPiece::Kind::kCall:
          delta["tool_calls"] = CallBeginJson(calls++, {.id = NewCallId(), .name = piece.text, .arguments = ""});
          break;
        case AnswerPiece::Kind::kArguments: delta["tool_calls"] = CallArgumentsJson(calls - 1, piece.text); break;
      }
      SendDelta(answer, std::move(delta), nullptr, out);
    }
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

#include "eval/open_document.h"

#include <algorithm>

#include "eval/perplexity.h"
#include "eval/run.h"

namespace nosa::eval {
namespace {

void AddPrefill(const engine::RequestResult& result, Work* work) {
  *work += {.tokens = result.prefill_tokens, .seconds = result.prefill_seconds};
}

// Scores what follows each of the event's positions; `ids`: the sequence's tokens.
void AddScores(const engine::Event& event, std::span<const TokenId> ids, AnswerScore* score) {
  const auto vocab = static_cast<size_t>(event.logits.RowElements());
  for (int64_t r = 0; r < event.logits.rows(); ++r) {
    const auto next = static_cast<size_t>(event.first_pos + r) + 1;
    if (next >= ids.size()) return;  // nothing comes after the last token
    const std::span<const float> logits(event.logits.row<float>(r), vocab);
    score->loss += NextTokenLoss(logits, ids[next]);
    score->likeliest += std::max_element(logits.begin(), logits.end()) - logits.begin() == ids[next] ? 1 : 0;
    ++score->tokens;
  }
}

}  // namespace

std::string Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? ""
                                         : std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

void DocumentWork::Add(const DocumentWork& other) {
  reading += other.reading;
  questions += other.questions;
  decode += other.decode;
  AddCounts(other.while_reading, &while_reading);
  AddCounts(other.while_answering, &while_answering);
}

OpenDocument::OpenDocument(engine::Engine& engine, std::vector<TokenId> document)
    : engine_(engine), document_(std::move(document)) {
  work_.document_tokens = static_cast<int>(document_.size());
}

OpenDocument::~OpenDocument() {
  if (id_.valid() && engine_.result(id_).reason != engine::FinishReason::kNone) engine_.Release(id_);
}

Status OpenDocument::Read(int reserve_tokens, FunctionRef<bool(int done, int total)> progress) {
  const engine::EngineStats before = engine_.stats();
  engine::Request request;
  request.prompt = document_;
  request.max_tokens = 0;
  request.keep_open = true;
  request.reserve_tokens = reserve_tokens;
  NOSA_ASSIGN_OR_RETURN(id_, engine_.Submit(std::move(request)));
  NOSA_RETURN_IF_ERROR(RunToEnd(engine_, id_, [&](const engine::Event& event) {
    return event.kind != engine::Event::Kind::kPromptProgress || progress(event.prompt_done, event.prompt_tokens);
  }));
  AddPrefill(engine_.result(id_), &work_.reading);
  when_read_ = engine_.stats();
  work_.while_reading = Since(when_read_, before);
  return Status::Ok();
}

Result<Reply> OpenDocument::Ask(const Inquiry& inquiry) {
  engine::Request request;
  request.max_tokens = inquiry.max_tokens;
  request.stop = inquiry.stop;
  request.keep_open = true;
  NOSA_RETURN_IF_ERROR(engine_.Continue(id_, work_.document_tokens, inquiry.ids, std::move(request)));
  NOSA_RETURN_IF_ERROR(RunToEnd(engine_, id_, [](const engine::Event&) { return true; }));
  const engine::RequestResult& result = engine_.result(id_);
  AddPrefill(result, &work_.questions);
  work_.decode += {.tokens = result.decode_tokens, .seconds = result.decode_seconds};
  work_.while_answering = Since(engine_.stats(), when_read_);
  longest_ = std::max(longest_, static_cast<int64_t>(engine_.tokens(id_).size()));
  const auto& layout = engine_.store().layout();
  work_.kv_bytes =
      static_cast<uint64_t>(layout.Blocks(longest_)) * layout.BlockBytes() * static_cast<uint64_t>(layout.lanes());
  fingerprints_.Update(AsBytes(std::span(&result.fingerprint, 1)));
  work_.fingerprint = fingerprints_.Digest();
  return Reply{Trimmed(result.text), result.ids, result.fingerprint};
}

Result<AnswerScore> OpenDocument::Score(std::span<const TokenId> question, std::span<const TokenId> answer) {
  std::vector<TokenId> follows(question.begin(), question.end());
  follows.insert(follows.end(), answer.begin(), answer.end());
  std::vector<TokenId> ids = document_;
  ids.insert(ids.end(), follows.begin(), follows.end());
  engine::Request request;
  request.max_tokens = 0;
  request.prompt_logits = static_cast<int>(answer.size()) + 1;  // from the token before the answer on
  request.keep_open = true;
  NOSA_RETURN_IF_ERROR(engine_.Continue(id_, work_.document_tokens, std::move(follows), std::move(request)));
  AnswerScore score;
  NOSA_RETURN_IF_ERROR(RunToEnd(engine_, id_, [&](const engine::Event& event) {
    if (event.kind == engine::Event::Kind::kPromptLogits) AddScores(event, ids, &score);
    return true;
  }));
  return score;
}

}  // namespace nosa::eval

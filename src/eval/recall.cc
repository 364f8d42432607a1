#include "eval/recall.h"

#include <algorithm>
#include <span>

#include "base/hash.h"
#include "eval/run.h"

namespace nosa::eval {
namespace {

std::string Trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? ""
                                         : std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

void AddWork(int tokens, double seconds, Work* work) {
  work->tokens += tokens;
  work->seconds += seconds;
}

// One run over one engine's open sequence.
class RecallRun {
 public:
  RecallRun(engine::Engine& engine, const RecallTask& task, RecallCallback progress)
      : engine_(engine), task_(task), progress_(progress) {
    report_.document_tokens = static_cast<int>(task.document.size());
  }

  Result<RecallReport> Run() {
    const engine::EngineStats before = engine_.stats();
    engine::Request request;
    request.prompt = task_.document;
    request.max_tokens = 0;
    request.keep_open = true;
    request.reserve_tokens = task_.reserve_tokens();
    NOSA_ASSIGN_OR_RETURN(id_, engine_.Submit(std::move(request)));
    Status status = Read();
    const engine::EngineStats read = engine_.stats();
    for (size_t i = 0; i < task_.facts.size() && status.ok(); ++i) status = Ask(task_.facts[i]);
    report_.while_reading = Since(read, before);
    report_.while_answering = Since(engine_.stats(), read);
    if (engine_.result(id_).reason != engine::FinishReason::kNone) engine_.Release(id_);
    NOSA_RETURN_IF_ERROR(status);
    const auto& layout = engine_.store().layout();
    report_.kv_bytes =
        static_cast<uint64_t>(layout.Blocks(longest_)) * layout.BlockBytes() * static_cast<uint64_t>(layout.lanes());
    report_.fingerprint = hash_.Digest();
    return std::move(report_);
  }

 private:
  Status Read() {
    NOSA_RETURN_IF_ERROR(RunToEnd(engine_, id_, [&](const engine::Event& event) {
      if (event.kind != engine::Event::Kind::kPromptProgress) return true;
      return progress_({.document_done = event.prompt_done, .document_tokens = event.prompt_tokens});
    }));
    const engine::RequestResult& result = engine_.result(id_);
    AddWork(result.prefill_tokens, result.prefill_seconds, &report_.reading);
    return Status::Ok();
  }

  Status Ask(const Fact& fact) {
    engine::Request request;
    request.max_tokens = kRecallAnswerTokens;
    request.stop = {".", "\n"};
    request.keep_open = true;
    NOSA_RETURN_IF_ERROR(engine_.Continue(id_, report_.document_tokens, fact.question, std::move(request)));
    NOSA_RETURN_IF_ERROR(RunToEnd(engine_, id_, [](const engine::Event&) { return true; }));
    const engine::RequestResult& result = engine_.result(id_);
    AddWork(result.prefill_tokens, result.prefill_seconds, &report_.questions);
    AddWork(result.decode_tokens, result.decode_seconds, &report_.decode);
    longest_ = std::max(longest_, static_cast<int64_t>(engine_.tokens(id_).size()));
    hash_.Update(AsBytes(std::span(&result.fingerprint, 1)));

    Fact known = fact;
    known.question.clear();
    report_.facts.push_back(std::move(known));
    RecallAnswer& answer = report_.answers.emplace_back();
    answer.text = Trimmed(result.text);
    answer.ok = answer.text == fact.number;
    answer.ids = result.ids;
    answer.fingerprint = result.fingerprint;
    const bool go_on = progress_({report_.document_tokens, report_.document_tokens, &fact, &answer});
    return go_on ? Status::Ok() : Cancelled("interrupted");
  }

  engine::Engine& engine_;
  const RecallTask& task_;
  RecallCallback progress_;
  engine::RequestId id_;
  RecallReport report_;
  StreamHash hash_;
  int64_t longest_ = 0;
};

}  // namespace

int RecallReport::correct() const {
  return static_cast<int>(std::count_if(answers.begin(), answers.end(), [](const RecallAnswer& a) { return a.ok; }));
}

Result<RecallReport> RunRecall(engine::Engine& engine, const RecallTask& task, RecallCallback progress) {
  return RecallRun(engine, task, progress).Run();
}

}  // namespace nosa::eval

// nosa generate: answers a prompt, or a batch of them.
#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "apps/answer_report.h"
#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/prompt_input.h"
#include "apps/report.h"
#include "apps/selection_trace.h"
#include "apps/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "text/grammar.h"

namespace nosa::apps {
namespace {

struct GenerateFlags {
  CommonFlags common;
  PromptFlags prompt;
  engine::Request request;  // what all prompts have in common
  std::optional<std::string> record_trace;
  std::optional<std::string> json_schema, grammar;  // files
};

// The run of one batch: submitted requests and what is shown of them while they are answered.
class Answering {
 public:
  // `streams`: text goes to stdout as it comes.
  Answering(const GenerateFlags& flags, engine::Engine* engine, bool streams)
      : flags_(flags), engine_(engine), streams_(streams) {}

  Status Submit(const Prompt& prompt) {
    engine::Request request = flags_.request;
    request.prompt = prompt.ids;
    Result<engine::RequestId> id = engine_->Submit(std::move(request));
    if (!id.ok()) return id.status().WithContext(prompt.name);
    ids_.push_back(*id);
    total_ += static_cast<int64_t>(prompt.ids.size());
    return Status::Ok();
  }

  // Until all have finished or were cancelled.
  Status Run() {
    Progress progress(
        {.what = "reading the prompt", .total = total_, .enabled = !flags_.common.json && !flags_.common.quiet});
    std::vector<int64_t> read(ids_.size(), 0);
    bool cancelled = false;
    while (engine_->HasWork()) {
      if (Interrupted() && !cancelled) {
        for (const engine::RequestId id : ids_) engine_->Cancel(id);
        cancelled = true;
      }
      events_.clear();
      NOSA_RETURN_IF_ERROR(engine_->Step(&events_));
      for (const engine::Event& event : events_) {
        if (event.kind == engine::Event::Kind::kPromptProgress) {
          read[Place(event.request)] = event.prompt_done;
          progress.Update(std::accumulate(read.begin(), read.end(), int64_t{0}));
        } else {
          progress.Finish();
          if (first_token_seconds_ < 0 && event.kind == engine::Event::Kind::kToken)
            first_token_seconds_ = watch_.Seconds();
          NOSA_RETURN_IF_ERROR(Show(event));
        }
      }
    }
    return Status::Ok();
  }

  // Of --record-trace; null: nothing is recorded.
  void Record(SelectionRecorder* recorder) { recorder_ = recorder; }

  const std::vector<engine::RequestId>& ids() const { return ids_; }
  double first_token_seconds() const { return first_token_seconds_; }

 private:
  size_t Place(engine::RequestId id) const {
    return static_cast<size_t>(std::find(ids_.begin(), ids_.end(), id) - ids_.begin());
  }

  Status Show(const engine::Event& event) {
    if (recorder_ != nullptr && event.selection != nullptr) recorder_->Add(*event.selection, event.selection_first_row);
    if (!streams_ || event.text.empty()) return Status::Ok();
    Print(event.text);
    return FlushStdout();
  }

  const GenerateFlags& flags_;
  engine::Engine* engine_;
  const bool streams_;
  SelectionRecorder* recorder_ = nullptr;
  std::vector<engine::RequestId> ids_;
  std::vector<engine::Event> events_;
  int64_t total_ = 0;
  Stopwatch watch_;
  double first_token_seconds_ = -1;
};

Status WriteTrace(const Session& session, const std::string& file, SelectionRecorder* recorder) {
  if (recorder->positions() == 0)
    return FailedPrecondition("--record-trace {}: no decode step was taken, nothing was written", file);
  io::SafetensorsWriter writer;
  writer.AddMetadata("attention", BaseEngineOptions(session).attention.selector);
  writer.AddMetadata("backend", session.backend->Describe());
  writer.AddMetadata("dtype", std::string(DTypeName(session.model->dtype())));
  recorder->AddTo(&writer);
  NOSA_RETURN_IF_ERROR(writer.Write(file));
  LogInfo("{}: the blocks that {} decode steps read", file, recorder->positions());
  return Status::Ok();
}

// The language of --json-schema or --grammar; null: neither was given.
Result<std::shared_ptr<const text::Grammar>> ReadGrammar(const GenerateFlags& flags) {
  if (!flags.json_schema && !flags.grammar) return std::shared_ptr<const text::Grammar>();
  const std::string& file = flags.json_schema ? *flags.json_schema : *flags.grammar;
  NOSA_ASSIGN_OR_RETURN(const std::string text, io::ReadTextFile(file));
  return flags.json_schema ? text::Grammar::FromJsonSchema(text, file) : text::Grammar::FromText(text, file);
}

Status Generate(GenerateFlags flags) {
  NOSA_ASSIGN_OR_RETURN(flags.request.grammar, ReadGrammar(flags));
  if (flags.record_trace) NOSA_RETURN_IF_ERROR(CheckOutputFile("--record-trace", *flags.record_trace));
  // Without one, the tokens of a device's steps need not come with their logits.
  flags.request.fingerprint = flags.common.json || !flags.common.quiet;
  flags.request.record_decode = flags.record_trace.has_value();
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, ReadPrompts(*session, flags.prompt));
  std::vector<int> sequences;
  for (const Prompt& prompt : prompts)
    sequences.push_back(SequenceTokens(*session, prompt.ids.size(), flags.request.max_tokens));
  if (flags.record_trace && prompts.size() != 1)
    return InvalidArgument("--record-trace records one answer, found {} prompts", prompts.size());
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine,
                        MakeEngine(*session, sequences, flags.record_trace ? Use::kPlannedAnswer : Use::kAnswer));
  const bool streams = prompts.size() == 1 && !flags.common.json && session->tokenizer != nullptr;
  Answering answering(flags, engine.get(), streams);
  for (const Prompt& prompt : prompts) NOSA_RETURN_IF_ERROR(answering.Submit(prompt));
  std::optional<SelectionRecorder> recorder;
  if (flags.record_trace) answering.Record(&recorder.emplace(*session->model, sequences.front()));
  const Status run = answering.Run();
  if (streams) Print("\n");
  NOSA_RETURN_IF_ERROR(run);

  std::vector<Answer> answers;
  for (size_t i = 0; i < prompts.size(); ++i) answers.push_back({prompts[i].name, engine->result(answering.ids()[i])});
  for (const Answer& answer : answers) {
    if (!answer.result.error.ok()) return answer.result.error.WithContext(answer.name);
  }
  const RunReport report = {*session, *engine, std::move(answers), answering.first_token_seconds()};
  if (flags.common.json) {
    PrintAnswersAsJson(report);
  } else {
    if (!streams) PrintAnswers(report);
    if (!flags.common.quiet) PrintRunSummary(report);
  }
  if (flags.record_trace) NOSA_RETURN_IF_ERROR(WriteTrace(*session, *flags.record_trace, &*recorder));
  return Interrupted() ? Cancelled("interrupted after {} tokens", report.GeneratedTokens()) : Status::Ok();
}

}  // namespace

void AddGenerate(Command command) {
  auto flags = std::make_shared<GenerateFlags>();
  engine::Request& request = flags->request;
  AddPromptFlags(command, &flags->prompt);
  command.Int("--max-tokens", &request.max_tokens, 0, "most tokens of an answer");
  command.Number("--temperature", &request.sampling.temperature, "0: always the likeliest token");
  command.Int("--top-k", &request.sampling.top_k, 0, "draw from the k likeliest; 0: all");
  command.Number("--top-p", &request.sampling.top_p, "draw from the likeliest that hold this share");
  command.Number("--min-p", &request.sampling.min_p, "draw from those at least this likely, beside the likeliest");
  command.Number("--repetition-penalty", &request.sampling.repetition_penalty,
                 "above 1: tokens that were there become less likely");
  command.Seed("--seed", &request.sampling.seed, "of the draws");
  command.Switch("--ignore-eos", &request.ignore_eos, "go on after the model's end token");
  command.Texts("--stop", &request.stop, "text that ends the answer; may be given several times");
  command.Text("--json-schema", &flags->json_schema, "the answer is JSON that this schema describes", "FILE");
  command.Text("--grammar", &flags->grammar, "the answer is a text of this grammar (docs/structured-output.md)",
               "FILE");
  command.Text("--record-trace", &flags->record_trace,
               "also write which blocks each decode step read: layer.L.selected [steps, KV heads, blocks] u8", "FILE");
  AddCommonFlags(command, &flags->common);
  command.Does(
      [flags] { return Generate(*flags); },
      [flags] {
        NOSA_RETURN_IF_ERROR(CheckCommonFlags(flags->common));
        NOSA_RETURN_IF_ERROR(CheckPromptFlags(flags->prompt));
        if (flags->record_trace && flags->request.max_tokens < 2) {
          return InvalidArgument("--record-trace needs decode steps: --max-tokens of at least 2, found {}",
                                 flags->request.max_tokens);
        }
        if (flags->record_trace && flags->common.decode == "step") {
          return InvalidArgument("--record-trace writes what the host plans step by step, found --decode step");
        }
        for (const std::string& stop : flags->request.stop) {
          if (stop.empty()) return InvalidArgument("--stop: expected text, found \"\"");
        }
        if (flags->json_schema && flags->grammar)
          return InvalidArgument("expected one of --json-schema and --grammar, found both");
        if ((flags->json_schema || flags->grammar) && flags->request.ignore_eos)
          return InvalidArgument("--ignore-eos goes on after the end, which --json-schema and --grammar do not allow");
        return flags->request.sampling.Validate();
      });
}

}  // namespace nosa::apps

// nosa trace: the logits of a prompt's last positions and the blocks they read, as a safetensors file.
#include <filesystem>
#include <memory>
#include <numeric>

#include "apps/answer_report.h"
#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/prompt_input.h"
#include "apps/report.h"
#include "apps/selection_trace.h"
#include "apps/session.h"
#include "base/bytes.h"
#include "io/safetensors.h"

namespace nosa::apps {
namespace {

struct TraceFlags {
  CommonFlags common;
  PromptFlags prompt;  // one of --ids and --prompt-file
  std::string out;
  int last = 1;
  int greedy = 0;
};

// What the events of one request say, put together.
class Recorder {
 public:
  Recorder(const model::Model& model, int prompt_tokens, int last)
      : vocab_(model.config().vocab_size),
        first_(prompt_tokens - last),
        last_(last),
        logits_(static_cast<size_t>(last) * static_cast<size_t>(vocab_)),
        selections_(model, prompt_tokens) {}

  void Take(const engine::Event& event) {
    const int64_t at = event.first_pos - first_;
    for (int64_t i = 0; i < event.logits.rows(); ++i) {
      const float* row = event.logits.row<float>(i);
      std::copy(row, row + vocab_, logits_.begin() + (at + i) * vocab_);
      selections_.Add(*event.selection, event.selection_first_row + static_cast<int>(i));
    }
  }

  Status Write(const std::filesystem::path& path, std::vector<TokenId>& greedy,
               const std::map<std::string, std::string>& metadata) {
    io::SafetensorsWriter writer;
    for (const auto& [key, value] : metadata) writer.AddMetadata(key, value);
    writer.Add("logits", TensorView(logits_.data(), DType::kF32, {last_, vocab_}));
    selections_.AddTo(&writer);
    if (!greedy.empty())
      writer.Add("greedy", TensorView(greedy.data(), DType::kI32, {static_cast<int64_t>(greedy.size())}));
    return writer.Write(path);
  }

 private:
  const int64_t vocab_;
  const int64_t first_;
  const int64_t last_;
  std::vector<float> logits_;  // [last, vocab]
  SelectionRecorder selections_;
};

Status RunToEnd(engine::Engine& engine, engine::RequestId id, const TraceFlags& flags, Recorder* recorder) {
  Progress progress({.what = "reading the prompt",
                     .total = static_cast<int64_t>(engine.tokens(id).size()),
                     .enabled = !flags.common.json && !flags.common.quiet});
  std::vector<engine::Event> events;
  while (engine.HasWork()) {
    if (Interrupted()) return Cancelled("interrupted, nothing was written");
    events.clear();
    NOSA_RETURN_IF_ERROR(engine.Step(&events));
    for (const engine::Event& event : events) {
      if (event.kind == engine::Event::Kind::kPromptProgress) progress.Update(event.prompt_done);
      if (event.kind == engine::Event::Kind::kPromptLogits) recorder->Take(event);
    }
  }
  return engine.result(id).error;
}

Status Trace(const TraceFlags& flags) {
  NOSA_RETURN_IF_ERROR(CheckOutputFile("--out", flags.out));
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  engine::Request request;
  NOSA_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts, ReadPrompts(*session, flags.prompt));
  const std::string& source = prompts.front().name;
  request.prompt = prompts.front().ids;
  const int tokens = static_cast<int>(request.prompt.size());
  if (flags.last > tokens && tokens > 0) {
    return InvalidArgument("--last asks for {} positions, {} has {} tokens", flags.last, source, tokens);
  }
  request.max_tokens = flags.greedy;
  request.ignore_eos = true;
  request.prompt_logits = flags.last;
  request.record_selection = true;
  const int sequences[] = {SequenceTokens(*session, request.prompt.size(), flags.greedy)};
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, MakeEngine(*session, sequences));
  const Result<engine::RequestId> id = engine->Submit(std::move(request));
  if (!id.ok()) return id.status().WithContext(source);
  Recorder recorder(*session->model, tokens, flags.last);
  NOSA_RETURN_IF_ERROR(RunToEnd(*engine, *id, flags, &recorder));

  std::vector<TokenId> greedy = engine->result(*id).ids;
  const RunReport report = {*session, *engine, {{source, engine->result(*id)}}};
  const std::string selector = BaseEngineOptions(*session).attention.selector;
  NOSA_RETURN_IF_ERROR(recorder.Write(flags.out, greedy,
                                      {{"attention", selector},
                                       {"backend", session->backend->Describe()},
                                       {"dtype", std::string(DTypeName(session->model->dtype()))},
                                       {"prefill", flags.common.prefill}}));
  if (flags.common.json) {
    io::OrderedJson json = AnswerJson(report, report.answers.front());
    json["out"] = flags.out;
    PrintJson(json);
  } else if (!flags.common.quiet) {
    Print(fmt::format("{}: logits of {} of {} positions and the blocks they read in {} layers, {} attention\n",
                      flags.out, flags.last, tokens, session->model->config().num_layers, selector));
  }
  return Status::Ok();
}

}  // namespace

void AddTrace(Command command) {
  auto flags = std::make_shared<TraceFlags>();
  command.Text("--ids", &flags->prompt.ids, "file with the prompt as a JSON array of token ids", "FILE");
  command.Texts("--prompt-file", &flags->prompt.files, "file with the prompt as text", "FILE");
  command.Text("--out", &flags->out,
               "what to write: logits [N, vocab] f32 and layer.L.selected [N, KV heads, blocks] u8", "FILE");
  command.Required("--out");
  command.Int("--last", &flags->last, 1, "positions from the prompt's end");
  command.Int("--greedy", &flags->greedy, 0, "also generate so many tokens, the likeliest each time: greedy [n] i32");
  AddCommonFlags(command, &flags->common);
  command.Does([flags] { return Trace(*flags); },
               [flags] {
                 if (flags->prompt.files.size() + (flags->prompt.ids ? 1 : 0) != 1) {
                   return InvalidArgument("expected one of --ids and --prompt-file");
                 }
                 return CheckCommonFlags(flags->common);
               });
}

}  // namespace nosa::apps

#include "trainer/train_command.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/session.h"
#include "apps/table.h"
#include "backend/cpu/cpu_backend.h"
#include "base/log.h"
#include "base/parallel.h"
#include "io/file.h"
#include "trainer/train_flags.h"

namespace nosa::trainer {
namespace {

namespace fs = std::filesystem;

using apps::FormatCount;
using apps::Print;
using apps::PrintJson;
using apps::Progress;
using apps::ProgressOptions;

// One for each worker: as many as there are threads and sequences to share on the CPU, one of a GPU.
Result<std::vector<std::unique_ptr<ops::Backend>>> MakeWorkers(const TrainFlags& flags) {
  std::vector<std::unique_ptr<ops::Backend>> workers;
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<ops::Backend> first, apps::MakeBackend(flags.common));
  if (first->name() != "cpu") {
    workers.push_back(std::move(first));
    return workers;
  }
  const int threads = first->threads();
  int rows = flags.plan.batch;
  for (const train::Stage& stage : flags.plan.stages) rows = std::min(rows, stage.batch > 0 ? stage.batch : rows);
  const int count = std::max(1, std::min(threads, rows));
  first.reset();
  for (int i = 0; i < count; ++i) workers.push_back(cpu::MakeCpuBackend(std::max(1, threads / count)));
  return workers;
}

Status CopyTokenizer(const LoadedTokenizer& tokenizer, const fs::path& out) {
  std::error_code error;
  fs::create_directories(out, error);
  if (error) return IoError("cannot make the directory {}: {}", out.string(), error.message());
  for (const fs::path& file : tokenizer.files) {
    NOSA_ASSIGN_OR_RETURN(const std::string text, io::ReadTextFile(file));
    const std::string name =
        file.extension() == ".json" && tokenizer.files.size() == 1 ? "tokenizer.json" : file.filename().string();
    NOSA_RETURN_IF_ERROR(io::WriteFileAtomically(out / name, AsBytes(std::span(text.data(), text.size()))));
  }
  return Status::Ok();
}

std::string Percent(int64_t part, int64_t all) {
  return fmt::format("{:.1f} %", all > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(all) : 0.0);
}

io::OrderedJson StepJson(const train::StepReport& step) {
  io::OrderedJson json;
  json["step"] = step.step;
  json["steps"] = step.steps;
  json["tokens"] = step.tokens;
  json["stage"] = step.stage;
  json["loss"] = step.loss;
  json["gradient_norm"] = step.gradient_norm;
  json["rate"] = step.rate;
  json["seconds"] = step.seconds;
  return json;
}

void PrintReport(const TrainFlags& flags, const train::TrainReport& report) {
  std::vector<std::pair<std::string, std::string>> facts = {
      {"model", flags.out},
      {"parameters", FormatCount(report.parameters)},
      {"steps", FormatCount(report.steps)},
      {"tokens", FormatCount(report.tokens)},
      {"loss of the last step", fmt::format("{:.4f}", report.loss)}};
  for (const train::HeldOutReport& held_out : report.held_out) {
    std::string value = fmt::format("{:.4f}", held_out.loss);
    if (held_out.answers > 0)
      value += fmt::format(", {} of {} answer tokens right", Percent(held_out.right_answers, held_out.answers),
                           FormatCount(held_out.answers));
    facts.emplace_back("held-out loss, " + held_out.source, value);
  }
  if (report.held_out.empty()) {
    facts.emplace_back(
        "held-out loss",
        fmt::format("not measured: --held-out {:g} of the text is less than one sequence", flags.held_out));
  }
  // Of text; where the answers to tasks lie is no measure of it.
  const std::vector<double>* held = report.held_out.empty() ? nullptr : &report.held_out.front().attention_held;
  if (held != nullptr && !held->empty()) {
    const double mean = std::accumulate(held->begin(), held->end(), 0.0) / static_cast<double>(held->size());
    facts.emplace_back("attention within the selection", fmt::format("{:.3f}, least of a layer {:.3f}", mean,
                                                                     *std::min_element(held->begin(), held->end())));
  }
  Print(apps::FormatFacts(facts));
  if (report.stopped) Print(fmt::format("\nStopped; the same command with --resume goes on.\n"));
}

Status TrainModel(TrainFlags flags) {
  if (flags.common.quiet) SetLogLevel(LogLevel::kWarn);
  const bool bars = !flags.common.json && !flags.common.quiet;
  NOSA_ASSIGN_OR_RETURN(const LoadedTokenizer tokenizer, LoadTokenizer(flags));
  NOSA_ASSIGN_OR_RETURN(const train::Beginning beginning, MakeBeginning(flags, *tokenizer.tokenizer));
  NOSA_ASSIGN_OR_RETURN(const auto owned, MakeWorkers(flags));
  std::vector<ops::Backend*> workers;
  for (const auto& worker : owned) workers.push_back(worker.get());
  const int threads = flags.common.threads > 0 ? flags.common.threads : AvailableProcessors();
  std::unique_ptr<Progress> reading;
  NOSA_ASSIGN_OR_RETURN(const train::Mixture data,
                        MakeMixture(flags, tokenizer, beginning.config, threads, [&](int64_t done, int64_t all) {
                          if (!reading)
                            reading = std::make_unique<Progress>(ProgressOptions{
                                .what = "reading text", .unit = "bytes", .total = all, .enabled = bars});
                          reading->Update(done);
                        }));
  reading.reset();
  NOSA_RETURN_IF_ERROR(CopyTokenizer(tokenizer, flags.out));
  Progress progress({.what = "training", .total = train::Schedule(flags.plan).tokens(), .enabled = bars});
  train::Hooks hooks;
  hooks.stop = apps::Interrupted;
  hooks.on_step = [&](const train::StepReport& step) {
    if (flags.common.json) PrintJson(StepJson(step));
    progress.Update(step.tokens,
                    fmt::format("step {}, loss {:.3f}, rate {:.1e}", FormatCount(step.step), step.loss, step.rate));
  };
  hooks.on_eval = [&](int64_t step, std::span<const train::HeldOutReport> reports) {
    for (const train::HeldOutReport& report : reports) {
      if (flags.common.json) PrintJson(train::HeldOutJson(step, report));
    }
  };
  NOSA_ASSIGN_OR_RETURN(const train::TrainReport report, train::Train(flags.plan, beginning, data, workers, hooks));
  progress.Finish();
  if (!flags.common.json) PrintReport(flags, report);
  return Status::Ok();
}

}  // namespace

void DescribeTrain(Command command) {
  auto flags = std::make_shared<TrainFlags>();
  AddTrainFlags(command, flags.get());
  const auto check = [flags] {
    NOSA_RETURN_IF_ERROR(CompletePlan(flags.get()));
    return CheckTrainFlags(*flags);
  };
  command.Does([flags] { return TrainModel(*flags); }, check);
}

}  // namespace nosa::trainer

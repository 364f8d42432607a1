#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <future>
#include <system_error>

#include "base/clock.h"
#include "io/file.h"
#include "train/checkpoint.h"
#include "train/worker.h"

namespace nosa::train {
namespace {

namespace fs = std::filesystem;

// log.jsonl: appended to, cut back to where a resumed run begins.
class Log {
 public:
  static Result<Log> Open(const fs::path& file, uint64_t bytes) {
    std::error_code error;
    if (fs::exists(file, error)) fs::resize_file(file, std::min<uint64_t>(bytes, fs::file_size(file, error)), error);
    Log log;
    log.file_.reset(std::fopen(file.c_str(), "ae"));
    if (log.file_ == nullptr) return IoError("cannot write {}: {}", file.string(), std::strerror(errno));
    log.name_ = file.string();
    log.bytes_ = fs::file_size(file, error);
    return log;
  }

  Status Write(const io::OrderedJson& line) {
    const std::string text = io::DumpJson(line) + "\n";
    if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0)
      return IoError("cannot write {}: {}", name_, std::strerror(errno));
    bytes_ += text.size();
    return Status::Ok();
  }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::string name_;
  uint64_t bytes_ = 0;
};

class Run {
 public:
  Run(const TrainPlan& plan, const Beginning& beginning, const Mixture& data, std::span<ops::Backend* const> backends,
      const Hooks& hooks)
      : plan_(plan),
        beginning_(beginning),
        data_(data),
        hooks_(hooks),
        schedule_(plan),
        parameters_(beginning.config, {.seed = plan.seed, .scale = plan.init_scale, .delta_scale = plan.delta_scale}, Compute(backends[0]).device()),
        optimizer_(&parameters_,
                   {.beta2 = plan.beta2,
                    .weight_decay = plan.weight_decay,
                    .delta_rate = plan.delta_rate,
                    .gain_rate = plan.gain_rate}),
        workers_(backends, parameters_) {
    state_.decisive = Decisive(plan, beginning.config, data.fingerprint(), static_cast<int>(backends.size()));
  }

  Status Prepare();
  Result<TrainReport> Go();

 private:
  Status Resume();
  Result<Batch> MakeBatch(int64_t step) const;
  ForwardOptions OptionsOf(int stage) const {
    return {
        .method = methods_[static_cast<size_t>(stage)], .type = TorchType(plan_.dtype), .recompute = plan_.recompute};
  }
  Status Step(Batch batch);
  Status NotFinite(std::string_view what, double value, const Batch& batch, const Place& place);
  Status Evaluate(int stage);
  Status Save();

  const TrainPlan& plan_;
  const Beginning& beginning_;
  const Mixture& data_;
  const Hooks& hooks_;
  Schedule schedule_;
  std::vector<Method> methods_;  // of the stages
  Parameters parameters_;
  AdamW optimizer_;
  Workers workers_;
  RunState state_;
  std::optional<Log> log_;
  int64_t saved_ = -1;  // step of the last checkpoint
  TrainReport report_;
};

Status Run::Prepare() {
  for (const Stage& stage : plan_.stages) {
    NOSA_ASSIGN_OR_RETURN(Method method, MakeMethod(stage.attention, beginning_.config));
    if (method.needs_importance() && !beginning_.config.has_importance)
      return Internal("{} attention for a model without importance", stage.attention);
    methods_.push_back(std::move(method));
    NOSA_RETURN_IF_ERROR(data_.Check(stage.length));
  }
  std::error_code error;
  fs::create_directories(plan_.out, error);
  if (error) return IoError("cannot make the directory {}: {}", plan_.out.string(), error.message());
  RemoveLeftovers(plan_.out);
  if (plan_.resume) {
    NOSA_RETURN_IF_ERROR(Resume());
  } else {
    if (FindState(plan_.out))
      return FailedPrecondition("{} holds a run already: resume it, or name another directory", plan_.out.string());
    if (!beginning_.init.empty()) {
      NOSA_ASSIGN_OR_RETURN(const auto checkpoint, io::Safetensors::OpenDirectory(beginning_.init));
      NOSA_RETURN_IF_ERROR(parameters_.Load(*checkpoint));
    }
  }
  NOSA_ASSIGN_OR_RETURN(log_, Log::Open(plan_.out / "log.jsonl", state_.log_bytes));
  return Status::Ok();
}

Status Run::Resume() {
  const std::optional<fs::path> file = FindState(plan_.out);
  if (!file) return NotFound("{} holds no run to resume: there is no training-state", plan_.out.string());
  NOSA_ASSIGN_OR_RETURN(const RunState found, LoadState(*file, &parameters_, &optimizer_));
  NOSA_RETURN_IF_ERROR(CheckSame(found.decisive, state_.decisive));
  state_.step = saved_ = found.step;
  state_.log_bytes = found.log_bytes;
  return Status::Ok();
}

Result<Batch> Run::MakeBatch(int64_t step) const {
  const Place place = schedule_.At(step);
  Batch batch(schedule_.BatchOf(place.stage), plan_.stages[static_cast<size_t>(place.stage)].length);
  for (int i = 0; i < batch.rows; ++i) {
    NOSA_RETURN_IF_ERROR(data_.Fill(static_cast<uint64_t>(place.first_row + i), batch.row(i)));
  }
  return batch;
}

Result<TrainReport> Run::Go() {
  report_.parameters = parameters_.count();
  // The next batch is made while this one is learnt from: it is a function of its number alone.
  std::future<Result<Batch>> next;
  const auto prepare = [&](int64_t step) {
    if (step < schedule_.steps()) next = std::async(std::launch::async, [this, step] { return MakeBatch(step); });
  };
  prepare(state_.step);
  while (state_.step < schedule_.steps() && !report_.stopped) {
    Result<Batch> batch = next.get();
    if (!batch.ok()) return batch.status();
    prepare(state_.step + 1);
    const int stage = schedule_.At(state_.step).stage;
    NOSA_RETURN_IF_ERROR(Step(std::move(batch).value()));
    const bool last = state_.step == schedule_.steps();
    report_.stopped = !last && hooks_.stop && hooks_.stop();
    if (last || (plan_.eval_every > 0 && state_.step % plan_.eval_every == 0)) NOSA_RETURN_IF_ERROR(Evaluate(stage));
    if (last || report_.stopped || (plan_.save_every > 0 && state_.step % plan_.save_every == 0))
      NOSA_RETURN_IF_ERROR(Save());
  }
  // Killed between its state and its model, a run that had ended still owes the model.
  if (report_.steps == 0) NOSA_RETURN_IF_ERROR(SaveModel(parameters_, beginning_.other, plan_.out_dtype, plan_.out));
  report_.steps = state_.step;
  report_.tokens = state_.step < schedule_.steps() ? schedule_.At(state_.step).tokens : schedule_.tokens();
  return report_;
}

Status Run::Step(Batch batch) {
  const Stopwatch watch;
  const Place place = schedule_.At(state_.step);
  const ForwardOptions options = OptionsOf(place.stage);
  NOSA_ASSIGN_OR_RETURN(const double loss, workers_.Learn(batch, plan_.micro_batch, options));
  if (!std::isfinite(loss)) return NotFinite("loss", loss, batch, place);
  const double norm = workers_.gradient().norm().item<double>();
  if (!std::isfinite(norm)) return NotFinite("gradient's norm", norm, batch, place);
  optimizer_.Step(workers_.gradient(), place.rate, plan_.clip > 0 && norm > plan_.clip ? plan_.clip / norm : 1.0);
  ++state_.step;
  const StepReport done = {.step = state_.step,
                           .steps = schedule_.steps(),
                           .stage = place.stage,
                           .tokens = place.tokens + int64_t{batch.rows} * batch.length,
                           .all_tokens = schedule_.tokens(),
                           .loss = loss,
                           .gradient_norm = norm,
                           .rate = place.rate,
                           .seconds = watch.Seconds()};
  report_.loss = loss;
  report_.steps = state_.step;
  io::OrderedJson line;
  line["step"] = done.step;
  line["tokens"] = done.tokens;
  line["stage"] = done.stage;
  line["loss"] = done.loss;
  line["gradient_norm"] = done.gradient_norm;
  line["rate"] = done.rate;
  line["seconds"] = done.seconds;
  NOSA_RETURN_IF_ERROR(log_->Write(line));
  if (hooks_.on_step) hooks_.on_step(done);
  return Status::Ok();
}

Status Run::NotFinite(std::string_view what, double value, const Batch& batch, const Place& place) {
  const std::string kept =
      saved_ < 0 ? std::string("no checkpoint was saved before it")
                 : fmt::format("the checkpoint of step {} in {} is the last good one", saved_, plan_.out.string());
  return FailedPrecondition("the {} of step {} is {}, at a rate of {:.3g}; it begins in {}; {}", what, state_.step + 1,
                            value, place.rate, workers_.FirstNonFinite(batch, OptionsOf(place.stage)), kept);
}

Status Run::Evaluate(int stage) {
  const int length = plan_.stages[static_cast<size_t>(stage)].length;
  report_.held_out.clear();
  for (const Share& share : data_.shares()) {
    Batch batch(plan_.eval_sequences, length);
    Status filled;
    for (int i = 0; i < batch.rows && filled.ok(); ++i)
      filled = share.source->FillHeldOut(static_cast<uint64_t>(i), batch.row(i));
    if (!filled.ok()) continue;  // too little is held out for one sequence of this length
    NOSA_ASSIGN_OR_RETURN(const Workers::Judged judged,
                          workers_.Judge(batch, std::max(1, plan_.micro_batch), OptionsOf(stage)));
    report_.held_out.push_back({.source = std::string(share.source->name()),
                                .loss = judged.loss / static_cast<double>(std::max<int64_t>(1, judged.targets)),
                                .targets = judged.targets,
                                .answers = judged.answers,
                                .right_answers = judged.right_answers});
    for (const AttentionHeld& held : judged.held) {
      if (held.rows > 0) report_.held_out.back().attention_held.push_back(held.mean());
    }
  }
  for (const HeldOutReport& held_out : report_.held_out) {
    NOSA_RETURN_IF_ERROR(log_->Write(HeldOutJson(state_.step, held_out)));
  }
  if (hooks_.on_eval) hooks_.on_eval(state_.step, report_.held_out);
  return Status::Ok();
}

Status Run::Save() {
  state_.log_bytes = log_->bytes();
  // The state first: a run killed between the two goes on from it, and writes the model again.
  NOSA_RETURN_IF_ERROR(SaveState(parameters_, optimizer_, state_, plan_.out));
  NOSA_RETURN_IF_ERROR(SaveModel(parameters_, beginning_.other, plan_.out_dtype, plan_.out));
  saved_ = state_.step;
  if (hooks_.on_save) hooks_.on_save(state_.step);
  return Status::Ok();
}

}  // namespace

io::OrderedJson HeldOutJson(int64_t step, const HeldOutReport& report) {
  io::OrderedJson json;
  json["step"] = step;
  json["held_out"] = report.source;
  json["loss"] = report.loss;
  json["targets"] = report.targets;
  json["answers"] = report.answers;
  json["right_answers"] = report.right_answers;
  if (!report.attention_held.empty()) json["attention_held"] = report.attention_held;
  return json;
}

Result<TrainReport> Train(const TrainPlan& plan, const Beginning& beginning, const Mixture& data,
                          std::span<ops::Backend* const> workers, const Hooks& hooks) {
  NOSA_RETURN_IF_ERROR(plan.Validate());
  NOSA_CHECK(!workers.empty(), "nobody to learn");
  NOSA_RETURN_IF_ERROR(AdoptStream(Compute(workers[0])));
  try {
    Run run(plan, beginning, data, workers, hooks);
    NOSA_RETURN_IF_ERROR(run.Prepare());
    return run.Go();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    return ResourceExhausted("LibTorch gave up: {}", text.substr(0, text.find('\n')));
  }
}

}  // namespace nosa::train

#include "train/plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

#include "schema/random_checkpoint.h"

namespace nosa::train {
namespace {

Result<double> ParseNumber(std::string_view key, std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  std::string_view unit(stop, static_cast<size_t>(end - stop));
  double factor = unit == "K" ? 1e3 : unit == "M" ? 1e6 : unit == "G" ? 1e9 : unit.empty() ? 1 : 0;
  if (error != std::errc() || factor == 0 || !std::isfinite(value) || value <= 0)
    return InvalidArgument("expected a positive number for {}, such as 200M, found \"{}\"", key, text);
  return value * factor;
}

Result<int> ParseCount(std::string_view key, std::string_view text) {
  NOSA_ASSIGN_OR_RETURN(const double value, ParseNumber(key, text));
  if (value < 1 || value > 1e9 || value != std::floor(value))
    return InvalidArgument("expected a whole number for {}, found \"{}\"", key, text);
  return static_cast<int>(value);
}

}  // namespace

Status TrainPlan::Validate() const {
  if (stages.empty())
    return InvalidArgument("a run needs at least one stage, such as tokens=10M,length=2048,attention=nosa");
  if (out.empty()) return InvalidArgument("a run needs a directory for its model");
  const auto positive = [](std::string_view what, double value) {
    return std::isfinite(value) && value > 0 ? Status::Ok()
                                             : InvalidArgument("expected a positive {}, found {}", what, value);
  };
  NOSA_RETURN_IF_ERROR(positive("rate", rate));
  NOSA_RETURN_IF_ERROR(positive("batch", batch));
  NOSA_RETURN_IF_ERROR(positive("rate of delta", delta_rate));
  NOSA_RETURN_IF_ERROR(positive("rate of A", gain_rate));
  NOSA_RETURN_IF_ERROR(positive("scale of delta", delta_scale));
  if (clip < 0 || weight_decay < 0 || beta2 <= 0 || beta2 >= 1 || warmup < 0 || warmup > 1 || last_rate < 0 ||
      last_rate > 1) {
    return InvalidArgument(
        "expected a clip and a decay of at least 0, beta2 between 0 and 1, a warm-up and a last rate from 0 to 1, "
        "found "
        "{}, {}, {}, {} and {}",
        clip, weight_decay, beta2, warmup, last_rate);
  }
  return Status::Ok();
}

Schedule::Schedule(const TrainPlan& plan) : plan_(plan) {
  int64_t rows = 0;
  for (const Stage& stage : plan_.stages) {
    const int64_t batch = stage.batch > 0 ? stage.batch : plan_.batch, step_tokens = batch * stage.length;
    const int64_t steps = (stage.tokens + step_tokens - 1) / step_tokens;
    parts_.push_back({steps, batch, steps_, rows, tokens_});
    steps_ += steps;
    rows += steps * batch;
    tokens_ += steps * step_tokens;
  }
}

int Schedule::BatchOf(int stage) const { return static_cast<int>(parts_[static_cast<size_t>(stage)].batch); }

Place Schedule::At(int64_t step) const {
  size_t i = 0;
  while (i + 1 < parts_.size() && step >= parts_[i].first_step + parts_[i].steps) ++i;
  const Part& part = parts_[i];
  const Stage& stage = plan_.stages[i];
  const int64_t inside = step - part.first_step;
  const double warm = std::floor(plan_.warmup * static_cast<double>(steps_));
  const auto at = static_cast<double>(step);
  double factor = 1;
  if (at < warm) {
    factor = (at + 1) / (warm + 1);
  } else if (static_cast<double>(steps_) > warm + 1) {
    const double way = (at - warm) / (static_cast<double>(steps_) - 1 - warm);
    factor = plan_.last_rate + (1 - plan_.last_rate) * 0.5 * (1 + std::cos(std::numbers::pi * way));
  }
  return {.stage = static_cast<int>(i),
          .first_row = part.first_row + inside * part.batch,
          .tokens = part.first_token + inside * part.batch * stage.length,
          .rate = (stage.rate > 0 ? stage.rate : plan_.rate) * factor};
}

io::OrderedJson Decisive(const TrainPlan& plan, const schema::ModelConfig& config, uint64_t data, int workers) {
  io::OrderedJson json;
  json["config"] = schema::ConfigToJson(config);
  io::OrderedJson stages = io::OrderedJson::array();
  for (const Stage& stage : plan.stages) {
    io::OrderedJson part;
    part["tokens"] = stage.tokens;
    part["length"] = stage.length;
    part["attention"] = stage.attention;
    part["batch"] = stage.batch;
    part["rate"] = stage.rate;
    stages.push_back(std::move(part));
  }
  json["stages"] = std::move(stages);
  json["batch"] = plan.batch;
  json["micro_batch"] = plan.micro_batch;
  json["rate"] = plan.rate;
  json["last_rate"] = plan.last_rate;
  json["warmup"] = plan.warmup;
  json["clip"] = plan.clip;
  json["weight_decay"] = plan.weight_decay;
  json["beta2"] = plan.beta2;
  json["delta_rate"] = plan.delta_rate;
  json["gain_rate"] = plan.gain_rate;
  json["dtype"] = std::string(DTypeName(plan.dtype));
  json["seed"] = plan.seed;
  json["data"] = fmt::format("{:016x}", data);
  json["workers"] = workers;
  return json;
}

Status CheckSame(const io::OrderedJson& begun, const io::OrderedJson& now) {
  for (const auto& [key, value] : now.items()) {
    const auto before = begun.find(key);
    if (before != begun.end() && *before == value) continue;
    return InvalidArgument("the run was begun with another {}: {}, found {}", key,
                           before == begun.end() ? "none" : io::DumpJson(*before), io::DumpJson(value));
  }
  return Status::Ok();
}

Result<Stage> ParseStage(std::string_view text) {
  Stage stage;
  stage.length = 0;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(item.size() + 1, text.size()));
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos)
      return InvalidArgument("expected KEY=VALUE parts such as tokens=10M,length=2048, found \"{}\"", item);
    const std::string_view key = item.substr(0, equals), value = item.substr(equals + 1);
    if (key == "tokens") {
      NOSA_ASSIGN_OR_RETURN(const double tokens, ParseNumber(key, value));
      stage.tokens = static_cast<int64_t>(std::ceil(std::min(tokens, 1e15)));
    } else if (key == "length") {
      NOSA_ASSIGN_OR_RETURN(stage.length, ParseCount(key, value));
    } else if (key == "batch") {
      NOSA_ASSIGN_OR_RETURN(stage.batch, ParseCount(key, value));
    } else if (key == "rate") {
      NOSA_ASSIGN_OR_RETURN(stage.rate, ParseNumber(key, value));
    } else if (key == "attention") {
      stage.attention = value;
    } else {
      return InvalidArgument("expected tokens, length, attention, batch or rate, found \"{}\"", key);
    }
  }
  if (stage.tokens == 0 || stage.length == 0)
    return InvalidArgument("a stage needs tokens and length, such as tokens=10M,length=2048");
  return stage;
}

}  // namespace nosa::train

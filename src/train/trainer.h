// The loop: from a plan, a model's config and sequences to a model directory. Knows no flags and prints nothing.
#pragma once

#include <functional>
#include <span>

#include "ops/backend.h"
#include "train/plan.h"
#include "train/sequence_source.h"

namespace nosa::train {

struct StepReport {
  int64_t step = 0;  // done, this one included
  int64_t steps = 0;
  int stage = 0;
  int64_t tokens = 0;  // learnt from so far
  int64_t all_tokens = 0;
  double loss = 0;           // before the step, of its sequences
  double gradient_norm = 0;  // before clipping
  double rate = 0;
  double seconds = 0;  // the step took
};

// Of sequences never learnt from.
struct HeldOutReport {
  std::string source;
  double loss = 0;  // mean over targets
  int64_t targets = 0;
  int64_t answers = 0;        // targets that are part of an answer
  int64_t right_answers = 0;  // of them, the most probable token
  // By layer, the share of attention that lies in what is selected (AttentionHeld); empty where nothing is left out.
  std::vector<double> attention_held;
};

// As the log has it: step, held_out (the source), loss, targets, answers, right_answers, attention_held.
io::OrderedJson HeldOutJson(int64_t step, const HeldOutReport& report);

struct Hooks {
  std::function<void(const StepReport&)> on_step = nullptr;
  std::function<void(int64_t step, std::span<const HeldOutReport>)> on_eval = nullptr;
  std::function<void(int64_t step)> on_save = nullptr;
  std::function<bool()> stop = nullptr;  // asked after each step: true saves and ends the run
};

struct TrainReport {
  int64_t steps = 0, tokens = 0;  // in all, what an interrupted run did before included
  int64_t parameters = 0;
  bool stopped = false;                 // by Hooks::stop
  double loss = 0;                      // of the last step
  std::vector<HeldOutReport> held_out;  // at the end
};

// What a model begins as.
struct Beginning {
  schema::ModelConfig config;  // has_importance as the stages need
  io::Json other = {};         // entries of config.json that the config does not know, kept
  std::filesystem::path init;  // a checkpoint's directory; empty: random weights
};

// Runs the plan and leaves a model in plan.out, with config.json, model.safetensors, log.jsonl (a line for each step,
// evaluation and save) and training-state/, from which plan.resume goes on with the same losses bit for bit (on the
// CPU; a GPU adds in varying order). `workers`: backends that share each step's sequences, one thread each; several
// CPU backends, or one of a GPU. The same number of workers gives the same bits.
// Fails, keeping the last good checkpoint: a plan that Validate refuses, an unknown attention, an `init` of another
// shape, a directory that holds another run (or, with resume, none), a disk that is full, a loss or gradient that is
// not finite (says the step, and where it comes from first), memory of the device.
Result<TrainReport> Train(const TrainPlan& plan, const Beginning& beginning, const Mixture& data,
                          std::span<ops::Backend* const> workers, const Hooks& hooks = {});

}  // namespace nosa::train

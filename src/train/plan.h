// What a run of training does, as plain data: stages, rates, what is kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "io/json.h"
#include "schema/model_config.h"

namespace nosa::train {

// A part of a run with one length and one attention.
struct Stage {
  int64_t tokens = 0;              // rounded up to whole steps
  int length = 2048;               // tokens of a sequence
  std::string attention = "full";  // a name of selectors.def
  int batch = 0;                   // sequences of a step; 0: TrainPlan::batch
  double rate = 0;                 // highest; 0: TrainPlan::rate
};

struct TrainPlan {
  std::vector<Stage> stages;
  int batch = 16;       // sequences of a step
  int micro_batch = 0;  // of them, at once on one worker; 0: all
  double rate = 1e-3;
  double last_rate = 0.1;     // of the highest, where the cosine ends
  double warmup = 0.02;       // of all steps
  double clip = 1.0;          // the gradient's norm at most; 0: no bound
  double weight_decay = 0.1;  // of matrices
  double beta2 = 0.95;
  double delta_rate = 25, gain_rate = 5;  // of delta and A, in units of the others'
  DType dtype = DType::kF32;              // of matrix products; masters are f32
  bool recompute = false;                 // activations, layer by layer, in the backward pass
  uint64_t seed = 0;                      // of weights that no checkpoint gives
  double init_scale = 0.02;               // standard deviation of matrices at the beginning
  double delta_scale = 0.1;               // and of delta

  std::filesystem::path out;      // becomes a model's directory
  DType out_dtype = DType::kF32;  // of its weights
  int save_every = 500;           // steps; 0: only at the end
  int eval_every = 0;             // steps; 0: only at the end
  int eval_sequences = 16;        // of each source
  bool resume = false;            // go on with the run that `out` holds

  // Each number alone: what is wrong, in one sentence.
  Status Validate() const;
};

// Where a step is.
struct Place {
  int stage = 0;
  int64_t first_row = 0;  // number of the step's first sequence, counted over the whole run
  int64_t tokens = 0;     // learnt from before this step
  double rate = 0;
};

// The steps of a plan, counted from 0.
class Schedule {
 public:
  explicit Schedule(const TrainPlan& plan);
  int64_t steps() const { return steps_; }
  int64_t tokens() const { return tokens_; }  // of all steps
  // `step` below steps(). Linear warm-up, then half a cosine to last_rate of each stage's rate at the last step.
  Place At(int64_t step) const;
  int BatchOf(int stage) const;

 private:
  TrainPlan plan_;
  struct Part {
    int64_t steps, batch, first_step, first_row, first_token;
  };
  std::vector<Part> parts_;
  int64_t steps_ = 0, tokens_ = 0;
};

// What decides the numbers of a run: a resumed one has to agree with its beginning.
io::OrderedJson Decisive(const TrainPlan& plan, const schema::ModelConfig& config, uint64_t data, int workers);
// kInvalidArgument naming the first field that differs, with both values.
Status CheckSame(const io::OrderedJson& begun, const io::OrderedJson& now);

// "tokens=200M,length=2048,attention=full,rate=1e-3,batch=64": tokens and length must be there. Numbers take K, M and G
// (thousands). kInvalidArgument names what is wrong.
Result<Stage> ParseStage(std::string_view text);

}  // namespace nosa::train

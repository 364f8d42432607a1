// nosa bench decode on a device: batches of sequences whose KV does not fit, over context, batch and schedule.
#pragma once

#include <string>
#include <vector>

#include "apps/common_flags.h"
#include "apps/session.h"
#include "base/status.h"

namespace nosa::apps {

struct StepBenchFlags {
  std::vector<int> contexts, batches;  // 0: the largest batch that fits
  std::vector<std::string> modes;      // StepModeNames()
  std::vector<double> slacks = {1.0};  // slots per lane, in units of the selection
  int tokens = 64;
  double locality = 0;          // 0: the model's own selection; else made up
  double infllm2_locality = 0;  // the same for mode infllm2
  std::string reuse = "uniform";
  std::string trace;  // file with recorded selections; empty: none
};

// What a row measures.
std::vector<std::string> StepModeNames();

Status BenchSteps(const Session& session, const StepBenchFlags& flags);

}  // namespace nosa::apps

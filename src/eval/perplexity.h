// How well a model predicts a text: its mean next-token loss, overall and by position.
#pragma once

#include <span>
#include <vector>

#include "base/function_ref.h"
#include "base/ids.h"
#include "engine/engine.h"

namespace nosa::eval {

// Losses of consecutive positions.
struct LossBucket {
  TokenPos first = 0;
  int tokens = 0;   // positions [first, first + tokens) whose next token was scored
  double loss = 0;  // mean, nats
};

struct PerplexityReport {
  int tokens = 0;   // scored: one fewer than read
  double loss = 0;  // mean, nats; perplexity is its exponential
  std::vector<LossBucket> buckets;
  int prefill_tokens = 0;
  double prefill_seconds = 0;
  engine::EngineStats stats;  // of the engine, when done
};

// How far the reading is; false gives it up.
using ReadProgress = FunctionRef<bool(int done, int total)>;

// -log softmax(logits)[token], by a sum of exponentials in double. Not finite when the logits are not.
double NextTokenLoss(std::span<const float> logits, TokenId token);

// Reads `ids` (at least two) as one prompt and scores each token after the first. `bucket` > 0: positions per bucket.
// kCancelled when `progress` gave it up; else fails as Engine::Submit, or as the request did.
Result<PerplexityReport> MeasurePerplexity(engine::Engine& engine, std::span<const TokenId> ids, int bucket,
                                           ReadProgress progress);

}  // namespace nosa::eval

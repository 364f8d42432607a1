// From logits to a token: stages that narrow and reshape the candidates, then one draw.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "ops/backend.h"
#include "tensor/buffer.h"
#include "text/token_masks.h"

namespace nosa::engine {

// Defaults sample nothing: the most likely token, always.
struct SamplingParams {
  float temperature = 0;         // 0: greedy
  int top_k = 0;                 // 0: all
  float top_p = 1;               // in (0, 1]
  float min_p = 0;               // in [0, 1]
  float repetition_penalty = 1;  // > 0; 1: none
  // OpenAI's: added to the logits of these tokens, each in [-100, 100]; of a token named twice, both.
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  // OpenAI's, in [-2, 2]: taken from the logits of tokens generated so far (not of the prompt's): the first once, the
  // second as often as the token is there.
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  // Tokens are drawn from a mask (Sampler::Sample). Set by the engine for requests with a grammar.
  bool masked = false;

  // Nothing but the likeliest token is asked for.
  bool likeliest() const {
    return temperature == 0 && repetition_penalty == 1 && !masked && logit_bias.empty() && presence_penalty == 0 &&
           frequency_penalty == 0;
  }
  // kInvalidArgument naming the field, its range and the value.
  Status Validate() const;
};

// What stands before a token: prompt and generated tokens, of which the last `generated` are generated.
struct TokenContext {
  TokenContext() = default;
  TokenContext(const std::vector<TokenId>& all, size_t generated_tokens = 0)  // NOLINT: implicit on purpose
      : tokens(all), generated(generated_tokens) {}

  std::span<const TokenId> tokens;
  size_t generated = 0;
};

struct Candidate {
  TokenId id = 0;
  float logit = 0;  // or log-probability up to a constant
};

// What a stage works on. Candidates start as the whole vocabulary in id order; a stage may drop, reorder or change
// them, never all of them.
struct SamplingState {
  const SamplingParams* params = nullptr;
  TokenContext context;
  const text::TokenMask* mask = nullptr;  // with params->masked: the tokens that may be drawn, at least one
  std::vector<Candidate> candidates;
  bool sorted = false;  // by falling logit, ties by rising id
  // Orders the candidates if they are not yet.
  void Sort();
  // Keeps the first n of the sorted order.
  void KeepBest(size_t n);
};

// Stateless, thread-safe.
class SamplingStage {
 public:
  virtual ~SamplingStage() = default;
  virtual std::string_view name() const = 0;
  // False: the parameters leave this stage nothing to do.
  virtual bool Active(const SamplingParams& params) const = 0;
  virtual void Apply(SamplingState* state) const = 0;
};

// Every stage of stages.def, in its order.
const std::vector<std::unique_ptr<SamplingStage>>& SamplingStages();

// Draws the token for position `pos` of a sequence: a pure function of logits, parameters, context and `pos`, so the
// sequence's neighbours do not matter. Not thread-safe: keeps scratch.
class Sampler {
 public:
  explicit Sampler(ops::Backend* backend) : backend_(backend) {}
  // logits [vocab] f32, not changed; where the backend and the host can address them. `mask` goes with params.masked:
  // it allows at least one token, and what it does not allow is not drawn, be the logits as broken as they may.
  TokenId Sample(std::span<const float> logits, const SamplingParams& params, const TokenContext& context, TokenPos pos,
                 const text::TokenMask* mask = nullptr);

 private:
  ops::Backend* backend_;
  SamplingState state_;
  Buffer scratch_;  // one id or the candidates' probabilities
};

}  // namespace nosa::engine

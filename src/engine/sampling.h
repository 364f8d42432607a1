// From logits to a token: stages that change logits and drop tokens, then one draw (ops/draw_tokens.h).
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
#include "ops/draw_tokens.h"
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

  // No stage has anything to do: the token is drawn from the logits as they are, as a device can.
  bool plain() const {
    return repetition_penalty == 1 && !masked && logit_bias.empty() && presence_penalty == 0 && frequency_penalty == 0;
  }
  // What is left to do after the stages.
  ops::DrawParams draw() const { return {temperature, top_k, top_p, min_p, seed}; }
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

// What a stage works on: the logits of the whole vocabulary. A stage may change them or drop tokens, never all of them.
struct SamplingState {
  const SamplingParams* params = nullptr;
  TokenContext context;
  const text::TokenMask* mask = nullptr;  // with params->masked: the tokens that may be drawn, at least one
  std::span<float> logits;                // [vocab]; a token whose logit is not finite is not drawn

  // Whether `id` is a token of the vocabulary that may be drawn.
  bool Has(TokenId id) const;
  // Of a token that may be drawn, which it stays: beyond the largest float is the largest float.
  void Set(TokenId id, float logit);
  void Drop(TokenId id);
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
// sequence's neighbours do not matter, and the same on every backend. Logits that are not finite are not drawn; where
// there are no others, token 0 is. Not thread-safe: keeps scratch.
class Sampler {
 public:
  explicit Sampler(ops::Backend* backend) : backend_(backend) {}
  // logits [vocab] f32, not changed; where the backend and the host can address them. `mask` goes with params.masked:
  // it allows at least one token, and what it does not allow is not drawn, be the logits as broken as they may.
  TokenId Sample(std::span<const float> logits, const SamplingParams& params, const TokenContext& context, TokenPos pos,
                 const text::TokenMask* mask = nullptr);

 private:
  // `logits` as the stages leave them, in scratch.
  std::span<const float> ApplyStages(std::span<const float> logits, const SamplingParams& params,
                                     const TokenContext& context, const text::TokenMask* mask);

  ops::Backend* backend_;
  Buffer id_, edited_, near_;
};

}  // namespace nosa::engine

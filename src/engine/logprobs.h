// How likely the model thought tokens, from its raw logits.
#pragma once

#include <span>
#include <vector>

#include "engine/request.h"

namespace nosa::engine {

// Of one row of logits, [vocab] f32: that of `token`, and of the `top` likeliest (at most vocab). Logits that are no
// numbers count as impossible: logprob -inf, never among the likeliest. Computed in double. O(vocab).
PositionLogprobs LogprobsOf(std::span<const float> logits, TokenId token, int top);

// Of the prompt's next positions, from logits [n, vocab] of positions [first, first + n): those say what stands one
// later, at the most at the prompt's end. The prompt's first token, before position 1's, has logprob NaN and no others.
std::vector<PositionLogprobs> PromptLogprobsOf(ConstTensorView logits, TokenPos first, std::span<const TokenId> prompt,
                                               int top);

}  // namespace nosa::engine

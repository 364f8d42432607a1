// What a caller asks of the engine, and what it gets back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "engine/sampling.h"
#include "model/runner.h"
#include "tensor/view.h"
#include "text/grammar.h"

namespace nosa::engine {

using RequestId = Id<struct RequestTag>;

// A token and how likely the model thought it: log of the softmax of the raw logits, before any sampling stage.
struct TokenLogprob {
  TokenId id = -1;
  float logprob = 0;
};
struct PositionLogprobs {
  TokenLogprob token;             // the one that stands there; a prompt's first token has logprob NaN
  std::vector<TokenLogprob> top;  // the likeliest, falling, ties by rising id; as many as asked for
};

struct Request {
  std::vector<TokenId> prompt = {};  // not empty
  SamplingParams sampling = {};
  int max_tokens = 128;                // to generate; 0: only read the prompt
  std::vector<std::string> stop = {};  // text that ends the answer; not part of it
  bool ignore_eos = false;
  // The answer's text is in this language, or the beginning of such a text if max_tokens or a stop string end it. It
  // ends (FinishReason::kEos) with an end token, which may come exactly where the text is complete, or once nothing
  // but the end may follow. Null: any text.
  std::shared_ptr<const text::Grammar> grammar = nullptr;
  // Logits of the last n prompt positions are given out while the prompt is read (Event::kPromptLogits).
  int prompt_logits = 0;
  // Event::kToken tells how likely the token was, and the n likeliest; -1: it does not. Of the raw logits.
  int logprobs = -1;
  bool record_selection = false;  // with prompt_logits: also which blocks those positions read
  // Event::kToken tells which blocks the step before it read. The host plans those steps.
  bool record_decode = false;
  // Whose it is. Where the engine keeps prefixes, only requests of one tenant share them.
  std::string tenant = {};
  // The prompt may begin with blocks that another request has made, and leave its own to others. The answer is the same
  // to the bit.
  bool reuse_prefix = true;
  // RequestResult::fingerprint is wanted. Without it, tokens of steps planned on the device come without their logits
  // (needs_logits), which is faster.
  bool fingerprint = true;
  // After the answer the sequence stays open, for Engine::Continue, until Release.
  bool keep_open = false;
  // Tokens to admit it for; 0: prompt + max_tokens. More with keep_open, for what is to come.
  int reserve_tokens = 0;

  // The host has to see the logits that tokens are drawn from. Else the device that computes them draws, too.
  bool needs_logits() const { return fingerprint || logprobs >= 0 || !sampling.plain(); }
};

enum class FinishReason : uint8_t { kNone, kEos, kStop, kLength, kCancelled, kError };
// "eos", "stop", "length", "cancelled", "error".
std::string_view FinishReasonName(FinishReason reason);

struct Event {
  enum class Kind : uint8_t {
    kPromptProgress,  // prompt_done of prompt_tokens are read
    kPromptLogits,    // logits of positions [first_pos, first_pos + logits.rows())
    kToken,           // one token was generated
    kFinished,        // the last event of a request (until Continue)
  };
  Kind kind = Kind::kToken;
  RequestId request = {};
  int prompt_done = 0, prompt_tokens = 0;
  TokenPos first_pos = 0;
  ConstTensorView logits = {};                        // [n, vocab] f32; valid until the next Step
  const model::SelectionRecord* selection = nullptr;  // rows of the chunk or step; valid until the next Step
  int selection_first_row = 0;                        // the row that has position first_pos, or of kToken
  TokenId token = -1;
  std::optional<PositionLogprobs> logprobs = {};  // kToken, where the request wants them
  std::string text = {};                          // what became certain of the answer, valid UTF-8
  FinishReason reason = FinishReason::kNone;
  Status error = {};  // kFinished with kError
};

// A request's outcome so far. Times are wall seconds of the steps the request took part in.
struct RequestResult {
  std::vector<TokenId> ids;  // generated: without an end token, with the tokens a stop string was in
  // What `ids` say, up to the first stop string; empty without a tokenizer.
  std::string text;
  FinishReason reason = FinishReason::kNone;
  Status error;
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, which other requests had read: taken over, not computed
  // Hash of the bits of all logits tokens were drawn from, in order; 0 when the request wanted none.
  uint64_t fingerprint = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  int prefill_tokens = 0;  // tokens that went through the model in chunks, Continue included
  int decode_tokens = 0;   // tokens that went through it one at a time
};

}  // namespace nosa::engine

// One open sequence of the engine: its tokens, how each got into the cache, and where its answer stands.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "engine/constraint.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace nosa::engine {

// How a run of tokens went through the model. Cached bytes can be computed again bit for bit by doing the same again.
struct Pass {
  TokenPos first = 0;
  int tokens = 0;
  bool prefill = false;  // one chunk; otherwise `tokens` single steps
};

// The passes that made positions [0, length) of a sequence.
class PassLog {
 public:
  void Add(TokenPos first, int tokens, bool prefill);
  // Forgets positions from `length` on, which must not lie inside a chunk: a shorter chunk would not give the same
  // bits.
  void Cut(int length);
  // The most positions, at most `length`, that can be kept without cutting a chunk.
  int WholeBefore(int length) const;
  // How many passes from position 0 on are chunks of exactly `tokens`.
  int WholeChunks(int tokens) const;
  // Largest start of a pass that is a multiple of `block` tokens and at or before `pos`: from there on, passes can be
  // repeated with whole blocks before them. 0 at worst.
  TokenPos RestartBefore(TokenPos pos, int block) const;
  // The passes from `from` (a start RestartBefore gave) on.
  std::vector<Pass> From(TokenPos from) const;
  const std::vector<Pass>& passes() const { return passes_; }

 private:
  std::vector<Pass> passes_;
};

enum class Phase : uint8_t { kPrompt, kAnswer, kFinished };

struct Sequence {
  RequestId id;
  SeqId kv;
  Request request;
  Phase phase = Phase::kPrompt;
  std::vector<TokenId> tokens;  // prompt and generated; the cache holds those before store.length(kv)
  int prompt_end = 0;           // tokens before it are prompt
  int answer_begin = 0;         // tokens from it on are the present answer
  bool cancelled = false;
  bool paused = false;
  std::optional<PositionLogprobs> logprobs;  // of the token drawn last
  int seat = -1;                             // of the device's steps; -1: none
  uint64_t answers_from = 0;                 // who began to answer before takes a seat first
  PassLog passes;
  RequestResult result;
  StreamHash hash;
  std::unique_ptr<text::StreamingDetokenizer> detokenizer;
  std::optional<Constraint> constraint;  // of request.grammar
  std::string held;                      // text that may be the beginning of a stop string
};

// How much of `text` is certain not to belong to a stop string: [0, n) may be shown. Sets *stopped when a stop string
// is in the text; n is then where the first one begins.
size_t CertainText(std::string_view text, const std::vector<std::string>& stops, bool* stopped);

}  // namespace nosa::engine

// A second, independent reading of docs/nosa.md: the whole Llama-family decoder in double precision and
// plain loops. It shares no arithmetic with the engine (only the code that opens a checkpoint), so that
// tests can hold the engine against it on any prompt, mode and size.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "schema/model_config.h"

namespace nosa::reference {

// Which blocks a query reads, and whether the importance is added to the logits.
enum class Mode : uint8_t {
  kNosa,     // query-aware, then query-agnostic blocks; with the bias
  kInfLlm2,  // query-aware blocks; no bias
  kDma,      // query-agnostic blocks; with the bias
  kFull,     // every block; no bias: the plain Llama layer
  kWindow,   // forced blocks only; no bias
};

struct Options {
  Mode mode = Mode::kNosa;
  int topk = 0;        // blocks; 0: the checkpoint's
  int query_topk = 0;  // blocks; 0: the checkpoint's
};

// The edge of one choice of the best blocks: by how much scores would have to change to change it. A
// window that two blocks share can make both score exactly alike; such a tie is decided by the index in any
// arithmetic and does not count.
struct Boundary {
  double gap = INFINITY;  // >= 0; infinite when nothing was left out or nothing was chosen by score
  double score = 0.0;     // of the worst chosen block: the scale to compare the gap with
};

// What one position of one layer-by-head grid selected.
struct Selection {
  TokenPos position = 0;
  int blocks = 0;                    // position / block_size + 1
  std::vector<uint8_t> selected;     // [layers, kv_heads, blocks], 0 or 1
  std::vector<Boundary> query;       // [layers, kv_heads]: of the choice by query-aware score Q
  std::vector<Boundary> importance;  // [layers, kv_heads]: of the choice by importance E
  // Of all boundaries, relative to their scores: below the rounding of an engine, its choice may differ.
  double SmallestGap() const;
};

struct Request {
  int logits_last = 1;     // return logits of the last n appended positions
  int selection_last = 0;  // and the selections of the last n
  bool loss = false;       // and the next-token loss; runs the LM head on every position
  // Every block is read whatever the mode (its bias stays): prefill of the engine's `--prefill dense`.
  bool every_block = false;
};

struct Output {
  std::vector<double> logits;         // [logits_last, vocab], oldest first
  std::vector<Selection> selections;  // [selection_last], oldest first
  double mean_loss = 0.0;             // nats; over the appended tokens that have a successor among them
};

struct Greedy {
  std::vector<TokenId> tokens;
  std::vector<double> margin;  // of each token: its logit minus the next best
};

class Weights;  // of a checkpoint, as doubles; immutable

// Reads config.json and model.safetensors of `directory`. Memory: about 10 bytes per stored parameter.
// Fails as the schema room does.
Result<std::shared_ptr<const Weights>> LoadWeights(const std::filesystem::path& directory);
const schema::ModelConfig& ConfigOf(const Weights& weights);

// One sequence and its cache of k, v, s and window means. Not thread-safe; sessions may share weights.
class Session {
 public:
  // Fails with kFailedPrecondition when the mode needs importance that the checkpoint lacks, with
  // kInvalidArgument when the overrides do not fit together.
  static Result<Session> Create(std::shared_ptr<const Weights> weights, const Options& options);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Runs `tokens` (ids below the vocabulary; a bug otherwise) at the positions that follow what is cached.
  // The result does not depend on how a sequence is cut into calls. Counts in the request above
  // tokens.size() mean all of them.
  Output Append(std::span<const TokenId> tokens, const Request& request);

  // The next `count` tokens by highest logit, ties to the lower id, after at least one Append. All but the
  // last token enter the cache, as the engine's do.
  Greedy Continue(int count);

  TokenPos length() const;

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nosa::reference

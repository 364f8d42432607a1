// What a run takes beside KV: an upper bound by arithmetic, so that a budget can be chosen before anything is
// allocated.
#pragma once

#include <cstdint>
#include <span>

namespace nosa::apps {

struct Session;

// Bytes of RAM. The process never holds more than the KV budget and total(). What lies on a device is not counted.
struct MemoryEstimate {
  uint64_t program = 0;         // code, libraries, thread stacks, compiled products
  uint64_t weights_mapped = 0;  // files in place: pages the system may take back
  uint64_t weights_copied = 0;  // converted to another type, made at random, or shared with a device
  uint64_t tokenizer = 0;
  uint64_t activations = 0;  // of one prompt chunk or decode step
  uint64_t logits = 0;       // and what tokens are drawn with
  uint64_t attention = 0;    // partial states, selections, scores
  uint64_t scratch = 0;      // of the ops, all threads
  uint64_t bookkeeping = 0;  // where every block is

  uint64_t total() const {
    return program + weights_mapped + weights_copied + tokenizer + activations + logits + attention + scratch +
           bookkeeping;
  }
};

// Device memory that reading prompts takes beside the weights, so that what is left may go to decode steps: activations
// and states of a chunk, scores, pieces of staged blocks, and the summaries of every sequence. With room for what the
// libraries take.
uint64_t EstimateDeviceMemory(const Session& session, std::span<const int> sequences);

// For sequences of at most `sequences[i]` tokens, open at the same time, with logits of at most `logit_rows` positions
// at once.
MemoryEstimate EstimateMemory(const Session& session, std::span<const int> sequences, int logit_rows = 1);

}  // namespace nosa::apps

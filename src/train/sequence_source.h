// What is learnt: sequences of tokens, each a pure function of its number.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace nosa::train {

// One sequence of T tokens to fill; target t is what follows token t. All of length T.
struct Row {
  std::span<int64_t> ids;
  std::span<int64_t> targets;  // valid ids, also where the weight is 0
  std::span<float> weights;    // how much each target counts; 0: not at all
  std::span<uint8_t> answers;  // 1: the target is part of an answer to a question
};

// Immutable, thread-safe.
class SequenceSource {
 public:
  virtual ~SequenceSource() = default;
  virtual std::string_view name() const = 0;
  // The sequence of that number: the same arguments fill in the same row, on any thread, in any order.
  virtual Status Fill(uint64_t number, const Row& row) const = 0;
  // The same for sequences that are never learnt from, by which learning is judged: as many as there are, then again
  // from the first. The default is Fill with numbers from 2^63 on.
  virtual Status FillHeldOut(uint64_t number, const Row& row) const { return Fill(number | uint64_t{1} << 63, row); }
  // That sequences of `length` tokens can be made: the sentence why not.
  virtual Status Check(int length) const = 0;
  // Tells sources apart whose sequences differ: part of what a resumed run has to have in common with its beginning.
  virtual uint64_t fingerprint() const = 0;
};

// A source, and its share of the sequences.
struct Share {
  std::unique_ptr<const SequenceSource> source;
  double share = 1;
};

// Sources by share: sequence n comes from one that (seed, n) draws.
class Mixture {
 public:
  // At least one share; shares are positive and count relative to their sum.
  Mixture(std::vector<Share> shares, uint64_t seed);

  Status Fill(uint64_t number, const Row& row) const;
  Status Check(int length) const;
  const std::vector<Share>& shares() const { return shares_; }
  uint64_t fingerprint() const;

 private:
  std::vector<Share> shares_;
  double sum_ = 0;
  uint64_t seed_;
};

}  // namespace nosa::train

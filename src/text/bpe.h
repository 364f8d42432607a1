// Byte-pair encoding of one word (Sennrich et al., 2016): the neighbours with the lowest rank merge first,
// the leftmost of equals, until no pair is left.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "text/merge_table.h"
#include "text/vocabulary.h"

namespace nosa::text {

struct BpeOptions {
  bool byte_level = true;      // words are bytes, written in the byte-level alphabet in the vocabulary; else characters
  bool ignore_merges = false;  // a word that is a token is that token
  TokenId unknown = -1;        // stands for a character without a token; -1: such characters vanish
  bool fuse_unknown = false;   // a run of them is one token
};

// Immutable, thread-safe.
class Bpe {
 public:
  // Working memory that is kept between words. One per thread.
  struct Scratch {
    struct Node {
      TokenId id;
      uint32_t previous;
      uint32_t next;
    };
    std::vector<TokenId> symbols;
    std::vector<uint32_t> ranks;
    std::vector<Node> nodes;
    std::vector<uint64_t> heap;
  };

  Bpe(std::shared_ptr<const Vocabulary> vocabulary, MergeTable merges, const BpeOptions& options);

  // Appends the ids of `word` to `out`. A word that is a special token is taken whole under ignore_merges
  // only with `allow_special`: text from strangers must not name special tokens by being one word.
  // O(n log n) in the bytes.
  void Encode(std::string_view word, bool allow_special, Scratch* scratch, std::vector<TokenId>* out) const;

 private:
  TokenId WholeWord(std::string_view word, bool allow_special) const;
  void Start(std::string_view word, std::vector<TokenId>* symbols) const;
  void MergeShort(Scratch* scratch, std::vector<TokenId>* out) const;
  void MergeLong(Scratch* scratch, std::vector<TokenId>* out) const;

  std::shared_ptr<const Vocabulary> vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
  std::array<TokenId, 256> byte_ids_;
};

}  // namespace nosa::text

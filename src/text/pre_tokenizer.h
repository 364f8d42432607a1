// Cuts text into the words that BPE works on: the "pre_tokenizer" of tokenizer.json.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "io/json.h"

namespace nosa::text {

// Strings made on the way, which stay where they are until the call that made them ends.
using TextArena = std::deque<std::string>;

// One step of cutting. Immutable, thread-safe.
class PreTokenizerStage {
 public:
  virtual ~PreTokenizerStage() = default;
  // Appends the pieces of `text` (well-formed, not empty) in order, without empty ones. They are views of
  // `text` or of strings in `arena`.
  virtual void Split(std::string_view text, TextArena* arena, std::vector<std::string_view>* out) const = 0;
};

// Immutable, thread-safe.
class PreTokenizer {
 public:
  // `config` is the value of "pre_tokenizer": null, ByteLevel, Split, Digits or a Sequence of these with at
  // most one ByteLevel and at most kMaxStages steps. Errors name the field.
  static Result<PreTokenizer> FromJson(const io::Json& config);

  static constexpr size_t kMaxStages = 64;

  // Appends the words of `text` (well-formed, not empty).
  void Split(std::string_view text, TextArena* arena, std::vector<std::string_view>* out) const;

  // The vocabulary writes bytes in the byte-level alphabet, else characters.
  bool byte_level() const { return byte_level_stage_ >= 0; }

 private:
  Status Add(const io::Json& config, std::string_view field);

  std::vector<std::unique_ptr<const PreTokenizerStage>> stages_;
  // From this stage on the reference sees text in the byte-level alphabet. -1: never.
  int byte_level_stage_ = -1;
};

}  // namespace nosa::text

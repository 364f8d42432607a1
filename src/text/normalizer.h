// Unicode normal forms (UAX #15): the "normalizer" of tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "io/json.h"

namespace nosa::text {

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

// Immutable, thread-safe.
class Normalizer {
 public:
  // `config` is the value of "normalizer": null, NFC, NFD, NFKC, NFKD or a Sequence of these.
  static Result<Normalizer> FromJson(const io::Json& config);

  // Nothing to do, for any text.
  bool identity() const { return forms_.empty(); }
  // `text` is well-formed, and so is the result. O(n log n), whatever the text: see normalizer.cc.
  std::string Normalize(std::string_view text) const;

 private:
  Status Add(const io::Json& config, std::string_view field);

  std::vector<NormalForm> forms_;
};

}  // namespace nosa::text

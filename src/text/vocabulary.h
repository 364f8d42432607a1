// Every token of a tokenizer, by id and by name. Immutable once built, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace nosa::text {

// Ids index arrays, so a file may not ask for more than this; ten times the largest vocabulary in use.
inline constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

class Vocabulary {
 public:
  struct Token {
    std::string name;   // as tokenizer.json writes it
    std::string bytes;  // what it decodes to
    bool special = false;
    bool in_model = false;  // BPE may produce it; false for tokens that are only added
  };

  // Fails with kInvalidArgument naming both tokens when the id or the name is taken, or the id is outside
  // [0, kMaxTokenId].
  Status Add(int64_t id, Token token);
  // The entry of `id` for changes during loading, null when there is none.
  Token* Mutable(TokenId id) { return const_cast<Token*>(Find(id)); }

  const Token* Find(TokenId id) const {
    if (id < 0 || id >= size() || slot_[static_cast<size_t>(id)] < 0) return nullptr;
    return &tokens_[static_cast<size_t>(slot_[static_cast<size_t>(id)])];
  }
  TokenId IdOf(std::string_view name) const;
  // IdOf among the tokens BPE may produce.
  TokenId ModelIdOf(std::string_view name) const;
  // One more than the largest id.
  int32_t size() const { return static_cast<int32_t>(slot_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  // Ids may have gaps: 4 bytes each, whatever a file claims its largest id to be.
  std::vector<int32_t> slot_;
  std::vector<Token> tokens_;
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
};

}  // namespace nosa::text

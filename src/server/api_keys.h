// Who may ask: keys of a file, one a line, with a name and limits.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/scheduler.h"

namespace nosa::server {

// Immutable after construction, thread-safe.
class ApiKeys {
 public:
  // Lines of a key and what may follow it: name=WORD (default: key1, key2, ... by line), max-requests=N (waiting and
  // running at once), requests-per-minute=X, tokens-per-minute=X, weight=X (share of the engine). Empty lines and lines
  // that begin with # say nothing. Keys of one name share its limits, which only one of them may give. kInvalidArgument
  // names the line, and never a key: a key shorter than 16 characters, twice the same, a word that is not known, a bad
  // number; no key at all.
  static Result<ApiKeys> FromText(std::string_view text, std::string_view what);
  // Fails too when the file can be read by others than its owner and its group.
  static Result<ApiKeys> FromFile(const std::filesystem::path& file);

  // The name of the key in `authorization` ("Bearer KEY"); nothing: none, or no such key. How long it takes depends on
  // the number of keys and the length of what was given, on nothing else.
  std::optional<std::string> NameOf(std::string_view authorization) const;

  // By name.
  const std::map<std::string, engine::TenantLimits>& limits() const { return limits_; }

 private:
  // Hashes are compared, so that all comparisons are of equal length, and keys do not lie in memory.
  using Digest = std::array<unsigned char, 32>;
  static Digest DigestOf(std::string_view key);

  struct Entry {
    Digest digest;
    std::string name;
  };
  std::vector<Entry> keys_;
  std::map<std::string, engine::TenantLimits> limits_;
};

}  // namespace nosa::server

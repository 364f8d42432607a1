// Fast non-cryptographic hashes (XXH3): fingerprints of outputs, bindings of cached bytes, keys of cached prefixes.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"

namespace nosa {

uint64_t Hash64(ConstBytes data, uint64_t seed = 0);

struct Digest128 {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Digest128&, const Digest128&) = default;
};

// A chain of hashes takes the digest of what came before as its seed: all 128 bits of it count.
Digest128 Hash128(ConstBytes data, const Digest128& seed = {});

// The hash of bytes that come in pieces; equal to Hash64 of them all.
class StreamHash {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(StreamHash&&) noexcept;
  StreamHash& operator=(StreamHash&&) noexcept;

  void Update(ConstBytes data);
  uint64_t Digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nosa

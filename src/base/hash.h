// Fast non-cryptographic hashes (XXH3-64): fingerprints of outputs, bindings of cached bytes.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"

namespace nosa {

uint64_t Hash64(ConstBytes data, uint64_t seed = 0);

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

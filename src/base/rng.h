// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). The value at (seed, stream, counter) is a pure function, so a sequence's draws
// do not depend on what else runs, and a draw can be repeated alone.
#pragma once

#include <array>
#include <cstdint>

namespace nosa {

class Philox {
 public:
  explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  // Four independent 32-bit values for `counter`. Pure, thread-safe.
  std::array<uint32_t, 4> Block(uint64_t counter) const;

  // Uniform in [0, 1), 24 bits, from the first word of Block(counter).
  float Uniform(uint64_t counter) const { return static_cast<float>(Block(counter)[0] >> 8) * 0x1p-24f; }

  // Standard normal by Box-Muller from the first two words of Block(counter).
  float Normal(uint64_t counter) const;

 private:
  uint64_t seed_;
  uint64_t stream_;
};

}  // namespace nosa

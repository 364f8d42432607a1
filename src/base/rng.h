// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). The value at (seed, stream, counter) is a pure function, so a sequence's draws
// do not depend on what else runs, and a draw can be repeated alone.
#pragma once

#include <array>
#include <cstdint>

namespace nosa {

class Philox {
 public:
  constexpr explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  // Four independent 32-bit values for `counter`. Pure, thread-safe; kernels call it, too.
  constexpr std::array<uint32_t, 4> Block(uint64_t counter) const {
    constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
    constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
    std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                                 static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
    uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = kMul0 * c[0], p1 = kMul1 * c[2];
      c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
      k0 += kWeyl0;
      k1 += kWeyl1;
    }
    return c;
  }

  // Uniform in [0, 1), 24 bits, from the first word of Block(counter).
  float Uniform(uint64_t counter) const { return static_cast<float>(Block(counter)[0] >> 8) * 0x1p-24f; }

  // Standard normal by Box-Muller from the first two words of Block(counter).
  float Normal(uint64_t counter) const;

 private:
  uint64_t seed_;
  uint64_t stream_;
};

}  // namespace nosa

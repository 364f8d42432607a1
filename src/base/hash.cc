#include "base/hash.h"

#include <xxhash.h>

#include "base/check.h"

namespace nosa {

uint64_t Hash64(ConstBytes data, uint64_t seed) { return XXH3_64bits_withSeed(data.data(), data.size(), seed); }

Digest128 Hash128(ConstBytes data, const Digest128& seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(data.data(), data.size(), seed.low);
  // A seed of XXH3 has 64 bits: the others come in with a second round over the digests alone.
  const uint64_t words[4] = {hash.low64, hash.high64, seed.low, seed.high};
  const XXH128_hash_t chained = XXH3_128bits(words, sizeof(words));
  return {chained.low64, chained.high64};
}

struct StreamHash::State {
  State() : xxh(XXH3_createState()) {
    NOSA_CHECK(xxh != nullptr, "no memory for a hash");
    XXH3_64bits_reset(xxh);
  }
  ~State() { XXH3_freeState(xxh); }
  XXH3_state_t* xxh;
};

StreamHash::StreamHash() : state_(std::make_unique<State>()) {}
StreamHash::~StreamHash() = default;
StreamHash::StreamHash(StreamHash&&) noexcept = default;
StreamHash& StreamHash::operator=(StreamHash&&) noexcept = default;

void StreamHash::Update(ConstBytes data) { XXH3_64bits_update(state_->xxh, data.data(), data.size()); }
uint64_t StreamHash::Digest() const { return XXH3_64bits_digest(state_->xxh); }

}  // namespace nosa

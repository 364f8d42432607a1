#include "base/hash.h"

#include <xxhash.h>

#include "base/check.h"

namespace nosa {

uint64_t Hash64(ConstBytes data, uint64_t seed) { return XXH3_64bits_withSeed(data.data(), data.size(), seed); }

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

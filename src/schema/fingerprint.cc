#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "schema/tensors.h"

namespace nosa::schema {
namespace {

// 4 KiB of each tensor, in pieces spread over it: few pages to fault in, and no single region whose
// change would go unseen by design.
constexpr size_t kPieces = 8;
constexpr size_t kPieceBytes = 512;

void HashSample(XXH3_state_t* state, ConstBytes bytes) {
  if (bytes.size() <= kPieces * kPieceBytes) {
    XXH3_64bits_update(state, bytes.data(), bytes.size());
    return;
  }
  for (size_t i = 0; i < kPieces; ++i) {
    // The first piece starts the tensor and the last one ends it.
    const size_t begin = (bytes.size() - kPieceBytes) / (kPieces - 1) * i;
    const size_t at = i + 1 == kPieces ? bytes.size() - kPieceBytes : begin;
    XXH3_64bits_update(state, bytes.data() + at, kPieceBytes);
  }
}

}  // namespace

uint64_t WeightsFingerprint(const io::Safetensors& checkpoint) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  NOSA_CHECK(state != nullptr, "no memory for a hash state");
  XXH3_64bits_reset(state.get());
  for (const std::string& name : checkpoint.Names()) {  // sorted, so shards may be cut anywhere
    const ConstTensorView tensor = checkpoint.Get(name).value();
    const std::string head = fmt::format("{}:{}:{};", name, DTypeName(tensor.dtype()), tensor.shape().ToString());
    XXH3_64bits_update(state.get(), head.data(), head.size());
    const size_t bytes = static_cast<size_t>(tensor.shape().elements()) * DTypeBytes(tensor.dtype());
    HashSample(state.get(), ConstBytes(tensor.bytes(), bytes));
  }
  return XXH3_64bits_digest(state.get());
}

}  // namespace nosa::schema

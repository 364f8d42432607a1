#include "train/sequence_source.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/rng.h"

namespace nosa::train {
namespace {

constexpr uint64_t kStream = 0x6d697874;  // of draws that choose a source

}  // namespace

Mixture::Mixture(std::vector<Share> shares, uint64_t seed) : shares_(std::move(shares)), seed_(seed) {
  NOSA_CHECK(!shares_.empty(), "a mixture of nothing");
  for (const Share& share : shares_) {
    NOSA_CHECK(share.share > 0, "a share of {}", share.share);
    sum_ += share.share;
  }
}

Status Mixture::Fill(uint64_t number, const Row& row) const {
  double draw = static_cast<double>(Philox(seed_, kStream).Uniform(number)) * sum_;
  size_t i = 0;
  while (i + 1 < shares_.size() && draw >= shares_[i].share) draw -= shares_[i++].share;
  return shares_[i].source->Fill(number, row);
}

Status Mixture::Check(int length) const {
  for (const Share& share : shares_) NOSA_RETURN_IF_ERROR(share.source->Check(length));
  return Status::Ok();
}

uint64_t Mixture::fingerprint() const {
  StreamHash hash;
  const auto add = [&hash](const auto& value) { hash.Update(AsBytes(std::span(&value, 1))); };
  add(seed_);
  for (const Share& share : shares_) {
    add(share.share);
    add(share.source->fingerprint());
  }
  return hash.Digest();
}

}  // namespace nosa::train

#include "server/random_id.h"

#include <openssl/rand.h>

#include <array>
#include <cstring>

#include "base/check.h"

namespace nosa::server {
namespace {

template <size_t n>
std::array<unsigned char, n> RandomBytes() {
  std::array<unsigned char, n> bytes;
  NOSA_CHECK(RAND_bytes(bytes.data(), static_cast<int>(n)) == 1, "the system has no random numbers");
  return bytes;
}

}  // namespace

std::string RandomId(std::string_view prefix) {
  // 62 of 256 byte values do not divide evenly: some letters are a fifth likelier, which costs nothing here.
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id(prefix);
  for (const unsigned char byte : RandomBytes<24>()) id += kLetters[byte % kLetters.size()];
  return id;
}

uint64_t RandomSeed() {
  uint64_t seed = 0;
  const auto bytes = RandomBytes<sizeof(seed)>();
  std::memcpy(&seed, bytes.data(), sizeof(seed));
  return seed;
}

}  // namespace nosa::server

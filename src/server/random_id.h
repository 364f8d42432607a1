// Names of answers and calls that nobody can guess or meet twice.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nosa::server {

// `prefix` and 24 letters and digits from the system's random numbers. Thread-safe.
std::string RandomId(std::string_view prefix);

// For a request without a seed. Thread-safe.
uint64_t RandomSeed();

}  // namespace nosa::server

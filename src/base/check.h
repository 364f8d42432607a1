// Checks for bugs: they end the program with the place, the condition and a message.
#pragma once

#include <fmt/core.h>

#include <string>

namespace nosa::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, const std::string& message);
}  // namespace nosa::internal

// NOSA_CHECK(n > 0, "n is {}", n): on in every build; for what only a bug can make false.
#define NOSA_CHECK(condition, ...)                                                               \
  do {                                                                                           \
    if (!(condition)) [[unlikely]]                                                               \
      ::nosa::internal::CheckFailed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)

// The same inside hot loops: off in release builds.
#ifdef NDEBUG
#define NOSA_DCHECK(condition, ...) \
  do {                              \
  } while (false)
#else
#define NOSA_DCHECK(condition, ...) NOSA_CHECK(condition, __VA_ARGS__)
#endif

// One logger, to stderr, so that stdout stays for results. Levels: debug, info, warn, error.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace nosa {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

// Messages below `level` are dropped. Thread-safe. Default kInfo.
void SetLogLevel(LogLevel level);
void LogMessage(LogLevel level, std::string_view message);

template <typename... Args>
void LogDebug(fmt::format_string<Args...> f, Args&&... args) {
  LogMessage(LogLevel::kDebug, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void LogInfo(fmt::format_string<Args...> f, Args&&... args) {
  LogMessage(LogLevel::kInfo, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void LogWarn(fmt::format_string<Args...> f, Args&&... args) {
  LogMessage(LogLevel::kWarn, fmt::format(f, std::forward<Args>(args)...));
}

}  // namespace nosa

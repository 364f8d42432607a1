// What a template may cost, and the error that ends it. The interpreter throws TemplateError and nothing else;
// ChatTemplate, its only user, turns it into a Status, so no exception leaves the room.
#pragma once

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace nosa::text::jinja {

// One sentence without its end, and the line where it happened (0: the evaluator adds it).
struct TemplateError {
  std::string message;
  int line = 0;
  bool limit = false;  // a bound was exceeded, as opposed to a wrong template or wrong input
};

template <typename... Args>
[[noreturn]] void Fail(fmt::format_string<Args...> format, Args&&... args) {
  throw TemplateError{fmt::format(format, std::forward<Args>(args)...)};
}

// Containers in containers; keeps recursion over values within the stack. JSON itself stops at 256.
inline constexpr int kMaxValueDepth = 300;
// Items of range(): the bound of jinja2's sandbox.
inline constexpr int64_t kMaxRange = 100'000;

// Counts down while a template runs. Everything whose cost grows with a value charges here.
class Budget {
 public:
  Budget(int64_t steps, int64_t bytes) : steps_(steps), bytes_(bytes) {}

  void Step(int64_t count = 1) {
    if ((steps_ -= count) < 0) throw TemplateError{"the template takes more steps than it may", 0, true};
  }
  // Memory for a value; also time, as somebody fills it.
  void Bytes(size_t count) {
    bytes_ -= static_cast<int64_t>(count < kHuge ? count : kHuge);
    if (bytes_ < 0) throw TemplateError{"the values of the template take more memory than they may", 0, true};
    Step(static_cast<int64_t>((count < kHuge ? count : kHuge) / kBytesPerStep));
  }

 private:
  static constexpr size_t kHuge = size_t{1} << 60;
  static constexpr size_t kBytesPerStep = 256;  // copying this much costs about what a step does

  int64_t steps_;
  int64_t bytes_;
};

}  // namespace nosa::text::jinja

#include "apps/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace nosa::apps {
namespace {

constexpr double kSilentSeconds = 2.0;
constexpr double kRedrawSeconds = 0.1;  // faster is not seen
constexpr int64_t kBarCells = 30;

void WriteStderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {
  if (!options_.write) {
    options_.write = WriteStderr;
    options_.terminal = ::isatty(STDERR_FILENO) == 1;
  }
  if (options_.clock == nullptr) options_.clock = &steady_;
  start_ = last_drawn_ = options_.clock->Now();
}

void Progress::Update(int64_t done, std::string_view note) {
  if (!options_.enabled || options_.total <= 0) return;
  done_ = std::clamp<int64_t>(done, 0, options_.total);
  const double now = options_.clock->Now(), seconds = now - start_;
  if (seconds < kSilentSeconds) return;
  if (options_.terminal) {
    if (drawn_ && now - last_drawn_ < kRedrawSeconds && done_ < options_.total) return;
    last_drawn_ = now;
    return DrawBar(seconds, note);
  }
  const int64_t tenths = 10 * done_ / options_.total;
  if (tenths <= tenths_said_) return;
  tenths_said_ = tenths;
  options_.write(fmt::format("{}: {} % {}\n", options_.what, 100 * done_ / options_.total, Rate(seconds, note)));
}

std::string Progress::Rate(double seconds, std::string_view note) const {
  const double rate = static_cast<double>(done_) / seconds;
  if (done_ == 0) return fmt::format("(0 {}/s)", options_.unit);
  const double left = static_cast<double>(options_.total - done_) / rate;
  return fmt::format("({:.{}f} {}/s, {} left){}{}", rate, rate < 10 ? 1 : 0, options_.unit, FormatDuration(left),
                     note.empty() ? "" : " ", note);
}

void Progress::DrawBar(double seconds, std::string_view note) {
  const auto cells = static_cast<size_t>(kBarCells * done_ / options_.total);
  const std::string bar = std::string(cells, '#') + std::string(static_cast<size_t>(kBarCells) - cells, '.');
  // Back to the line's start, and clear what a longer line left.
  options_.write(
      fmt::format("\r\x1b[K{} [{}] {:3} % {}", options_.what, bar, 100 * done_ / options_.total, Rate(seconds, note)));
  drawn_ = true;
}

void Progress::Finish() {
  if (drawn_) options_.write("\r\x1b[K");
  drawn_ = false;
  options_.enabled = false;
}

std::string FormatDuration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

}  // namespace nosa::apps

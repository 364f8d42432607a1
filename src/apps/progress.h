// How far something is that takes its time: a bar on a terminal, a line every tenth elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace nosa::apps {

struct ProgressOptions {
  std::string what;             // "reading the prompt"
  std::string unit = "tokens";  // of the total
  int64_t total = 0;
  bool enabled = true;  // false: says nothing (--quiet, --json)
  // Where it goes; unset: stderr, and whether that is a terminal.
  std::function<void(std::string_view)> write = nullptr;
  bool terminal = false;
  const Clock* clock = nullptr;  // unset: a steady clock
};

// Says nothing in the first two seconds, so short work stays silent.
class Progress {
 public:
  explicit Progress(ProgressOptions options);
  ~Progress() { Finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of the total; cheap to call often. `note` follows the rate ("loss 2.31").
  void Update(int64_t done, std::string_view note = "");
  // Takes the bar away. Nothing is said after it.
  void Finish();

 private:
  std::string Rate(double seconds, std::string_view note) const;
  void DrawBar(double seconds, std::string_view note);

  ProgressOptions options_;
  SteadyClock steady_;
  double start_ = 0;
  double last_drawn_ = 0;
  int64_t done_ = 0;
  int64_t tenths_said_ = 0;
  bool drawn_ = false;
};

// "8 s", "3 min 20 s", "2 h 5 min".
std::string FormatDuration(double seconds);

}  // namespace nosa::apps

// The answers that one HTTP request asked for, read as they come.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "server/api_error.h"
#include "server/app.h"

namespace nosa::server {

// One thread. Destroying it cancels what is not finished.
class Generation {
 public:
  // Submits all or none.
  static std::optional<ApiError> Submit(App& app, std::vector<engine::ServiceRequest> requests,
                                        std::unique_ptr<Generation>* generation);

  struct Item {
    size_t answer = 0;  // place among the requests
    engine::AnswerEvent event;
  };
  // The next event of any answer, waiting at most `timeout`; nothing: it passed, or all are finished.
  std::optional<Item> Next(std::chrono::milliseconds timeout);
  bool finished() const { return open_ == 0; }
  // As Map and the page name it.
  uint64_t answer_id(size_t answer) const { return answers_[answer].answer->id(); }

  // Counts a client that went away.
  void Abandon();

 private:
  struct Reading {
    std::unique_ptr<engine::Answer> answer;
    bool open = true, reads = false, answers = false;
    double last_token = 0;
  };

  explicit Generation(App& app) : app_(app) {}
  std::optional<Item> Ask(size_t at, std::chrono::milliseconds wait);
  void Observe(Reading* reading, const engine::AnswerEvent& event);

  App& app_;
  Stopwatch since_;
  std::vector<Reading> answers_;
  size_t open_ = 0;
  size_t turn_ = 0;  // whose event is looked for first
};

}  // namespace nosa::server

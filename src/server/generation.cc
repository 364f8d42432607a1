#include "server/generation.h"

#include <algorithm>

namespace nosa::server {

std::optional<ApiError> Generation::Submit(App& app, std::vector<engine::ServiceRequest> requests,
                                           std::unique_ptr<Generation>* generation) {
  std::unique_ptr<Generation> made(new Generation(app));
  for (engine::ServiceRequest& request : requests) {
    engine::Refusal refusal;
    std::unique_ptr<engine::Answer> answer = app.service->Submit(std::move(request), &refusal);
    if (answer == nullptr) return ErrorOf(refusal);  // those that were taken are cancelled with `made`
    made->answers_.push_back({.answer = std::move(answer)});
  }
  made->open_ = made->answers_.size();
  *generation = std::move(made);
  return std::nullopt;
}

void Generation::Observe(Reading* reading, const engine::AnswerEvent& event) {
  using Kind = engine::AnswerEvent::Kind;
  const double now = since_.Seconds();
  if (!reading->reads && event.kind != Kind::kQueued) {
    reading->reads = true;
    app_.metrics.queue_seconds.Observe(now);
  }
  if (event.kind == Kind::kToken) {
    (reading->answers ? app_.metrics.token_gap_seconds : app_.metrics.first_token_seconds)
        .Observe(now - reading->last_token);
    reading->answers = true;
    reading->last_token = now;
  }
  if (event.kind == Kind::kFinished) {
    reading->open = false;
    --open_;
  }
}

std::optional<Generation::Item> Generation::Ask(size_t at, std::chrono::milliseconds wait) {
  Reading& reading = answers_[at];
  if (!reading.open) return std::nullopt;
  std::optional<engine::AnswerEvent> event = reading.answer->Next(wait);
  if (!event) return std::nullopt;
  Observe(&reading, *event);
  turn_ = (at + 1) % answers_.size();
  return Item{at, *std::move(event)};
}

std::optional<Generation::Item> Generation::Next(std::chrono::milliseconds timeout) {
  using std::chrono::milliseconds;
  // Less than a step takes, so that a token of another answer is not kept waiting for long.
  constexpr milliseconds kSlice(2);
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (open_ > 0) {
    for (size_t i = 0; i < answers_.size(); ++i) {
      if (auto item = Ask((turn_ + i) % answers_.size(), milliseconds(0))) return item;
    }
    const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
    if (left <= milliseconds(0)) break;
    while (!answers_[turn_].open) turn_ = (turn_ + 1) % answers_.size();
    const size_t at = turn_;
    if (auto item = Ask(at, open_ == 1 ? left : std::min(left, kSlice))) return item;
    turn_ = (at + 1) % answers_.size();
  }
  return std::nullopt;
}

void Generation::Abandon() {
  app_.metrics.disconnects.fetch_add(1, std::memory_order_relaxed);
  answers_.clear();
  open_ = 0;
}

}  // namespace nosa::server

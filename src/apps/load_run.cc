#include "apps/load_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "apps/interrupt.h"
#include "apps/server_watcher.h"
#include "base/clock.h"
#include "io/json.h"
#include "server/load_client.h"

namespace nosa::apps {
namespace {

using server::LoadAnswer;
using server::LoadClient;
using std::chrono::milliseconds;

// A request may wait in the server's queue for as long as the test lasts.
constexpr std::chrono::hours kPatience(24);
constexpr milliseconds kLook(50);  // between two looks at Ctrl-C
// A client of the closed loop that was sent away asks again after this: a full server is not to be asked in a circle.
constexpr milliseconds kRetry(100);
constexpr size_t kMostErrors = 5;

void AddError(std::vector<std::string>* errors, const Status& error) {
  std::string sentence(error.message());
  if (errors->size() < kMostErrors && std::find(errors->begin(), errors->end(), sentence) == errors->end())
    errors->push_back(std::move(sentence));
}

// An answer of another length is another load than the one offered.
void CheckLength(LoadAnswer* answer, const LoadTarget& target) {
  if (answer->end != LoadAnswer::End::kCompleted || answer->generated_tokens == target.max_tokens) return;
  answer->end = LoadAnswer::End::kFailed;
  answer->error = DataLoss("expected an answer of {} tokens, found {}", target.max_tokens, answer->generated_tokens);
}

void AddGaps(const std::vector<double>& pieces, double from, double to, std::vector<double>* gaps_ms) {
  for (size_t i = 1; i < pieces.size(); ++i) {
    if (pieces[i - 1] >= from && pieces[i] <= to) gaps_ms->push_back((pieces[i] - pieces[i - 1]) * 1e3);
  }
}

class LoadRun {
 public:
  explicit LoadRun(const LoadOptions& options) : options_(options) {}
  Result<LoadRow> Run();

 private:
  double Elapsed() const { return clock_.Now() - begin_; }
  double End() const { return options_.warm_up_seconds + options_.seconds; }
  Status AddClient();
  Status Offer();
  Status Drain();
  void Join();
  void Ask(LoadClient* client);
  std::optional<PlannedRequest> Next();
  void Record(const PlannedRequest& request, LoadAnswer answer);

  const LoadOptions& options_;
  const SteadyClock clock_;
  double begin_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<PlannedRequest> due_;  // of the Poisson process
  bool closing_ = false;            // nothing more becomes due
  size_t idle_ = 0, busy_ = 0;
  uint64_t next_ = 0;  // of the closed loop
  double tokens_ = 0;
  std::vector<double> first_ms_, gaps_ms_;
  LoadRow row_;
  std::vector<std::unique_ptr<LoadClient>> clients_;
  std::vector<std::thread> threads_;
};

Status LoadRun::AddClient() {
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<LoadClient> client, LoadClient::Create(options_.target.url, kPatience));
  clients_.push_back(std::move(client));
  threads_.emplace_back([this, client = clients_.back().get()] { Ask(client); });
  return Status::Ok();
}

std::optional<PlannedRequest> LoadRun::Next() {
  std::unique_lock lock(mutex_);
  if (options_.rate <= 0) {
    if (closing_ || Elapsed() >= End()) return std::nullopt;
    PlannedRequest request = PlanRequest(options_.shape, next_++);
    request.at = Elapsed();
    ++busy_;
    return request;
  }
  ++idle_;
  changed_.wait(lock, [this] { return closing_ || !due_.empty(); });
  --idle_;
  if (due_.empty()) return std::nullopt;
  const PlannedRequest request = due_.front();
  due_.pop_front();
  ++busy_;
  return request;
}

void LoadRun::Ask(LoadClient* client) {
  while (const std::optional<PlannedRequest> request = Next()) {
    LoadAnswer answer = client->Complete({.model = options_.target.model,
                                          .prompt = PromptOf(options_.shape, *request),
                                          .max_tokens = options_.target.max_tokens},
                                         nullptr);
    CheckLength(&answer, options_.target);
    const bool sent_away = answer.end == LoadAnswer::End::kRefused || answer.end == LoadAnswer::End::kFailed;
    {
      const std::lock_guard lock(mutex_);
      Record(*request, std::move(answer));
      --busy_;
      changed_.notify_all();
    }
    if (sent_away && options_.rate <= 0) std::this_thread::sleep_for(kRetry);
  }
}

void LoadRun::Record(const PlannedRequest& request, LoadAnswer answer) {
  const double from = begin_ + options_.warm_up_seconds, to = begin_ + End();
  // Some pieces hold several tokens: each counts as the mean of its answer's.
  const auto within =
      std::count_if(answer.pieces.begin(), answer.pieces.end(), [&](double at) { return at >= from && at < to; });
  if (answer.end == LoadAnswer::End::kCompleted && !answer.pieces.empty()) {
    tokens_ += static_cast<double>(within) * answer.generated_tokens / static_cast<double>(answer.pieces.size());
  } else {
    tokens_ += static_cast<double>(within);
  }
  AddGaps(answer.pieces, from, to, &gaps_ms_);
  // A warm-up that fails is told of too.
  const bool bad = answer.end == LoadAnswer::End::kRefused || answer.end == LoadAnswer::End::kFailed;
  if (bad) AddError(&row_.errors, answer.error);
  if (request.at < options_.warm_up_seconds) return;
  ++row_.offered;
  switch (answer.end) {
    case LoadAnswer::End::kRefused: ++row_.refused; return;
    case LoadAnswer::End::kFailed: ++row_.failed; return;
    case LoadAnswer::End::kStopped: ++row_.unfinished; return;
    case LoadAnswer::End::kCompleted: break;
  }
  ++row_.completed;
  row_.prompt_tokens += static_cast<uint64_t>(answer.prompt_tokens);
  row_.cached_tokens += static_cast<uint64_t>(answer.cached_tokens);
  if (!answer.pieces.empty()) first_ms_.push_back((answer.pieces.front() - begin_ - request.at) * 1e3);
}

// Until the end of the window.
Status LoadRun::Offer() {
  std::vector<PlannedRequest> arrivals;
  if (options_.rate > 0) {
    arrivals = PoissonArrivals(options_.shape, options_.rate, End());
  } else {
    for (int i = 0; i < options_.concurrency; ++i) NOSA_RETURN_IF_ERROR(AddClient());
  }
  for (size_t i = 0; Elapsed() < End();) {
    if (Interrupted()) return Cancelled("interrupted");
    const double until = i < arrivals.size() ? arrivals[i].at : End();
    const double wait = until - Elapsed();
    if (wait > 0) {
      std::this_thread::sleep_for(std::min(std::chrono::duration<double>(wait), std::chrono::duration<double>(kLook)));
      continue;
    }
    if (i == arrivals.size()) break;
    bool all_busy = false;
    {
      const std::lock_guard lock(mutex_);
      due_.push_back(arrivals[i++]);
      all_busy = due_.size() > idle_;
      changed_.notify_all();
    }
    if (all_busy && clients_.size() < static_cast<size_t>(options_.most_clients)) NOSA_RETURN_IF_ERROR(AddClient());
  }
  return Status::Ok();
}

Status LoadRun::Drain() {
  std::unique_lock lock(mutex_);
  closing_ = true;
  changed_.notify_all();
  const double until = End() + options_.drain_seconds;
  while ((busy_ > 0 || !due_.empty()) && Elapsed() < until) {
    if (Interrupted()) return Cancelled("interrupted");
    changed_.wait_for(lock, kLook);
  }
  return Status::Ok();
}

void LoadRun::Join() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    for (const PlannedRequest& request : due_) {
      const bool counts = request.at >= options_.warm_up_seconds;
      row_.offered += counts;
      row_.unfinished += counts;
    }
    due_.clear();
    changed_.notify_all();
  }
  for (const auto& client : clients_) client->Stop();
  for (std::thread& thread : threads_) thread.join();
}

Result<LoadRow> LoadRun::Run() {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<ServerWatcher> watcher, ServerWatcher::Create(options_.target.url));
  begin_ = clock_.Now();
  Status done = Offer();
  if (done.ok()) done = Drain();
  Join();
  NOSA_RETURN_IF_ERROR(done);
  row_.rate = options_.rate;
  row_.concurrency = options_.concurrency;
  row_.output_tokens_per_s = tokens_ / options_.seconds;
  row_.first_token_ms = PercentilesOf(std::move(first_ms_));
  row_.gap_ms = PercentilesOf(std::move(gaps_ms_));
  row_.server = watcher->Between(begin_ + options_.warm_up_seconds, begin_ + End());
  return std::move(row_);
}

// Conversations that are begun together.
class ConversationRun {
 public:
  explicit ConversationRun(const ConversationOptions& options)
      : options_(options),
        pieces_(static_cast<size_t>(options.offered)),
        answers_(static_cast<size_t>(options.offered)) {}
  Result<ConversationRow> Run();

 private:
  Status Begin();
  Status WaitUntilRead(const ServerWatcher& watcher);
  void Join();
  ConversationRow Judge(const ServerWatcher& watcher);

  const ConversationOptions& options_;
  const SteadyClock clock_;
  double begin_ = 0, held_from_ = 0, held_to_ = 0;
  bool all_read_ = false;
  std::vector<std::atomic<size_t>> pieces_;  // that each client has
  std::vector<LoadAnswer> answers_;          // by client, when its thread has ended
  std::atomic<int> ended_ = 0;
  std::vector<std::unique_ptr<LoadClient>> clients_;
  std::vector<std::thread> threads_;
};

Status ConversationRun::Begin() {
  for (size_t i = 0; i < pieces_.size(); ++i) {
    NOSA_ASSIGN_OR_RETURN(std::unique_ptr<LoadClient> client, LoadClient::Create(options_.target.url, kPatience));
    clients_.push_back(std::move(client));
    threads_.emplace_back([this, i, client = clients_.back().get()] {
      answers_[i] = client->Complete({.model = options_.target.model,
                                      .prompt = PromptOf(options_.shape, PlanRequest(options_.shape, i)),
                                      .max_tokens = options_.target.max_tokens},
                                     [this, i](size_t pieces) { pieces_[i] = pieces; });
      ++ended_;
    });
  }
  return Status::Ok();
}

// Until the server has taken all and reads none of them, or one has ended.
Status ConversationRun::WaitUntilRead(const ServerWatcher& watcher) {
  // Its numbers are up to a tenth of a second old.
  constexpr int kQuietLooks = 6;
  for (int quiet = 0; ended_ == 0; std::this_thread::sleep_for(kLook)) {
    if (Interrupted()) return Cancelled("interrupted");
    const std::optional<ServerSample> now = watcher.Last();
    const bool read =
        now && now->reading == 0 && now->answering > 0 && now->answering + now->queued >= options_.offered;
    quiet = read ? quiet + 1 : 0;
    all_read_ = quiet == kQuietLooks;
    if (all_read_) break;
  }
  return Status::Ok();
}

void ConversationRun::Join() {
  for (const auto& client : clients_) client->Stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

ConversationRow ConversationRun::Judge(const ServerWatcher& watcher) {
  ConversationRow row;
  row.offered = options_.offered;
  row.all_read = all_read_;
  row.read_seconds = held_from_ - begin_;
  row.held_seconds = held_to_ - held_from_;
  double pieces = 0;
  std::vector<double> gaps;
  std::vector<std::pair<double, double>> answering;
  for (LoadAnswer& answer : answers_) {
    CheckLength(&answer, options_.target);
    if (!answer.pieces.empty()) answering.emplace_back(answer.pieces.front(), answer.pieces.back());
    row.refused += answer.end == LoadAnswer::End::kRefused;
    row.failed += answer.end == LoadAnswer::End::kFailed;
    if (!answer.error.ok() && answer.end != LoadAnswer::End::kStopped) AddError(&row.errors, answer.error);
    pieces += static_cast<double>(std::count_if(answer.pieces.begin(), answer.pieces.end(),
                                                [&](double at) { return at >= held_from_ && at <= held_to_; }));
    AddGaps(answer.pieces, held_from_, held_to_, &gaps);
  }
  row.begun = static_cast<int>(answering.size());
  row.answering = MostAtOnce(answering);
  if (row.held_seconds > 0) row.output_tokens_per_s = pieces / row.held_seconds;
  row.gap_ms = PercentilesOf(std::move(gaps));
  if (const std::optional<ServerWatch> watch = watcher.Between(begin_, held_to_)) row.server = *watch;
  return row;
}

Result<ConversationRow> ConversationRun::Run() {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<ServerWatcher> watcher, ServerWatcher::Create(options_.target.url));
  begin_ = clock_.Now();
  Status done = Begin();
  if (done.ok()) done = WaitUntilRead(*watcher);
  held_from_ = clock_.Now();
  while (done.ok() && ended_ == 0 && clock_.Now() < held_from_ + options_.hold_seconds) {
    if (Interrupted()) done = Cancelled("interrupted");
    std::this_thread::sleep_for(kLook);
  }
  held_to_ = clock_.Now();
  Join();
  NOSA_RETURN_IF_ERROR(done);
  return Judge(*watcher);
}

Result<std::unique_ptr<LoadClient>> ReachableClient(const std::string& url) {
  return LoadClient::Create(url, std::chrono::seconds(30));
}

}  // namespace

Result<LoadRow> RunLoad(const LoadOptions& options) { return LoadRun(options).Run(); }

Result<ConversationRow> RunConversations(const ConversationOptions& options) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<LoadClient> client, ReachableClient(options.target.url));
  NOSA_ASSIGN_OR_RETURN(const std::string metrics, client->Get("/metrics"));
  if (!SampleOf(metrics))
    return Unimplemented("{}/metrics does not say how many requests are read and answered", options.target.url);
  return ConversationRun(options).Run();
}

Result<std::string> FirstModel(const std::string& url) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<LoadClient> client, ReachableClient(url));
  NOSA_ASSIGN_OR_RETURN(const std::string text, client->Get("/v1/models"));
  NOSA_ASSIGN_OR_RETURN(const io::Json json, io::ParseJson(text, url + "/v1/models"));
  const auto data = json.is_object() ? json.find("data") : json.end();
  if (data == json.end() || !data->is_array() || data->empty() || !data->front().is_object())
    return DataLoss("{}/v1/models: expected a list of models in \"data\"", url);
  return io::GetString(data->front(), "id", "");
}

}  // namespace nosa::apps

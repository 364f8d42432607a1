#include "server/load_client.h"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <charconv>

#include "base/clock.h"
#include "io/json.h"

namespace nosa::server {
namespace {

// Of a reply that is no stream of events, an error object.
constexpr size_t kMostKept = size_t{1} << 16;

std::string ErrorText(std::string_view body) {
  const Result<io::Json> json = io::ParseJson(body, "reply");
  if (json.ok() && json->is_object() && json->contains("error")) {
    const io::Json& error = (*json)["error"];
    if (error.is_object()) {
      Result<std::string> message = io::GetString(error, "message", "");
      if (message.ok() && !message->empty()) return *std::move(message);
    }
  }
  constexpr size_t kShown = 200;
  return std::string(body.substr(0, kShown));
}

int Count(const io::Json& object, std::string_view key) {
  const Result<int64_t> count = io::GetInt(object, key, 0);
  return count.ok() ? static_cast<int>(*count) : 0;
}

bool HasText(const io::Json& chunk) {
  const auto choices = chunk.find("choices");
  if (choices == chunk.end() || !choices->is_array() || choices->empty() || !choices->front().is_object()) return false;
  const Result<std::string> text = io::GetString(choices->front(), "text", "");
  return text.ok() && !text->empty();
}

class HttpLoadClient final : public LoadClient {
 public:
  HttpLoadClient(const std::string& url, std::chrono::milliseconds patience) : client_(url) {
    client_.set_tcp_nodelay(true);
    client_.set_keep_alive(false);
    client_.set_connection_timeout(std::chrono::seconds(30));
    client_.set_read_timeout(patience);
    client_.set_write_timeout(patience);
  }

  bool valid() const { return client_.is_valid(); }

  LoadAnswer Complete(const LoadRequest& request, const std::function<void(size_t)>& on_piece) override;
  Result<std::string> Get(const std::string& path) override;
  void Stop() override {
    stopped_ = true;
    client_.stop();
  }

 private:
  httplib::Client client_;
  std::atomic<bool> stopped_ = false;
};

LoadAnswer HttpLoadClient::Complete(const LoadRequest& request, const std::function<void(size_t)>& on_piece) {
  io::Json body = {{"model", request.model},   {"prompt", request.prompt}, {"max_tokens", request.max_tokens},
                   {"temperature", 0},         {"ignore_eos", true},       {"stream", true},
                   {"stream_options", nullptr}};
  body["stream_options"] = {{"include_usage", true}};
  httplib::Request post;
  post.method = "POST";
  post.path = "/v1/completions";
  post.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}};
  post.body = io::DumpJson(body);
  const SteadyClock clock;
  LoadAnswerReader reader;
  int http_status = 0;
  post.response_handler = [&](const httplib::Response& response) {
    http_status = response.status;
    return !stopped_;
  };
  post.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    const size_t before = reader.pieces();
    reader.Take({data, size}, clock.Now());
    if (on_piece != nullptr && reader.pieces() > before) on_piece(reader.pieces());
    return !stopped_;
  };
  Status transport = Unavailable("the client was stopped");
  if (!stopped_) {
    const httplib::Result result = client_.send(post);
    transport = result ? Status::Ok() : Unavailable("the connection failed: {}", httplib::to_string(result.error()));
  }
  LoadAnswer answer = reader.Finish(http_status, transport);
  // An answer that was whole before the stop came through is one.
  if (stopped_ && answer.end != LoadAnswer::End::kCompleted) answer.end = LoadAnswer::End::kStopped;
  return answer;
}

Result<std::string> HttpLoadClient::Get(const std::string& path) {
  const httplib::Result result = client_.Get(path);
  if (!result) return Unavailable("GET {}: the connection failed: {}", path, httplib::to_string(result.error()));
  if (result->status != 200)
    return Unavailable("GET {}: expected status 200, found {}: {}", path, result->status, ErrorText(result->body));
  return result->body;
}

}  // namespace

void LoadAnswerReader::Take(std::string_view bytes, double now) {
  rest_ += bytes;
  size_t begin = 0;
  for (size_t end = 0; (end = rest_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    std::string_view line = std::string_view(rest_).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    TakeLine(line, now);
  }
  rest_.erase(0, begin);
  if (rest_.size() > kMostKept) rest_.resize(kMostKept);
}

void LoadAnswerReader::TakeLine(std::string_view line, double now) {
  constexpr std::string_view kData = "data:";
  if (!line.starts_with(kData)) return;
  line.remove_prefix(kData.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (line == "[DONE]") {
    done_ = true;
    return;
  }
  const Result<io::Json> chunk = io::ParseJson(line, "event");
  if (!chunk.ok() || !chunk->is_object()) {
    if (error_.ok()) error_ = DataLoss("an event is no JSON object: {}", line.substr(0, 200));
    return;
  }
  if (chunk->contains("error")) {
    if (error_.ok()) error_ = Unavailable("the stream ended with an error: {}", ErrorText(line));
    return;
  }
  if (HasText(*chunk)) answer_.pieces.push_back(now);
  const auto usage = chunk->find("usage");
  if (usage == chunk->end() || !usage->is_object()) return;
  answer_.prompt_tokens = Count(*usage, "prompt_tokens");
  answer_.generated_tokens = Count(*usage, "completion_tokens");
  const auto details = usage->find("prompt_tokens_details");
  if (details != usage->end() && details->is_object()) answer_.cached_tokens = Count(*details, "cached_tokens");
}

LoadAnswer LoadAnswerReader::Finish(int http_status, const Status& transport) {
  using End = LoadAnswer::End;
  answer_.end = End::kFailed;
  if (http_status == 429 || http_status == 503) {
    answer_.end = End::kRefused;
    answer_.error = Unavailable("refused with status {}: {}", http_status, ErrorText(rest_));
  } else if (!error_.ok()) {
    answer_.error = error_;
  } else if (!transport.ok() && !done_) {
    answer_.error = transport;
  } else if (http_status != 200) {
    answer_.error = Unavailable("expected status 200, found {}: {}", http_status, ErrorText(rest_));
  } else if (!done_) {
    answer_.error = DataLoss("the stream ended without [DONE], after {} pieces", answer_.pieces.size());
  } else {
    answer_.end = End::kCompleted;
  }
  return std::move(answer_);
}

std::map<std::string, double> MetricValues(std::string_view text) {
  std::map<std::string, double> values;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t blank = line.rfind(' ');
    if (line.starts_with('#') || blank == std::string_view::npos || blank == 0) continue;
    double value = 0;
    const char* last = line.data() + line.size();
    const auto parsed = std::from_chars(line.data() + blank + 1, last, value);
    if (parsed.ec == std::errc() && parsed.ptr == last) values[std::string(line.substr(0, blank))] = value;
  }
  return values;
}

Result<std::unique_ptr<LoadClient>> LoadClient::Create(const std::string& url, std::chrono::milliseconds patience) {
  auto client = std::make_unique<HttpLoadClient>(url, patience);
  if (!url.starts_with("http://") || !client->valid())
    return InvalidArgument("expected http://HOST:PORT, found \"{}\"", url);
  return std::unique_ptr<LoadClient>(std::move(client));
}

}  // namespace nosa::server

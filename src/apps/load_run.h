// Load on a server over HTTP, and what its clients and its /metrics saw meanwhile. The server may be anybody's; without
// nosa's metrics what they tell is missing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/load_plan.h"
#include "base/status.h"

namespace nosa::apps {

struct LoadTarget {
  std::string url, model;
  int max_tokens = 64;  // of every answer; one of another length is a failure
};

struct LoadOptions {
  LoadTarget target;
  LoadShape shape;
  double rate = 0;             // requests a second, as a Poisson process; 0: closed loop
  int concurrency = 0;         // clients of the closed loop, each of which asks again once it has its answer
  int most_clients = 512;      // of the Poisson process; further requests wait for one, and their wait counts
  double warm_up_seconds = 0;  // before the measured window; answers to what arrives in it count as nothing
  double seconds = 10;         // of the measured window
  double drain_seconds = 60;   // that answers have after its end; the rest is unfinished
};

// What /metrics told while it was asked, ten times a second.
struct ServerWatch {
  int samples = 0, missed = 0;  // missed: the server did not answer
  double queued_mean = 0;
  int queued_peak = 0, reading_peak = 0, answering_peak = 0, running_peak = 0;  // running: reading or answering
  uint64_t host_peak = 0, host_budget = 0, cold_peak = 0;                       // bytes of KV; budget 0: there is none
  uint64_t rss_peak = 0, rss_first = 0, rss_last = 0;  // of the process; means of the first and last quarter
};

struct LoadRow {
  double rate = 0;
  int concurrency = 0;
  // Of the requests that arrived in the window: offered = completed + refused + failed + unfinished.
  int offered = 0, completed = 0, refused = 0, failed = 0, unfinished = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0;  // of those completed
  double output_tokens_per_s = 0;                 // that came in the window, to whichever request
  // From when a request was due to its first piece of text; between two pieces of an answer.
  Percentiles first_token_ms, gap_ms;
  std::optional<ServerWatch> server;  // of the window
  std::vector<std::string> errors;    // sentences that differ, the first few
};

// kUnavailable when nobody answers at `url`; kCancelled after Ctrl-C. What single requests meet is in the row.
Result<LoadRow> RunLoad(const LoadOptions& options);

struct ConversationOptions {
  LoadTarget target;
  LoadShape shape;
  int offered = 64;         // conversations that are begun at once
  double hold_seconds = 5;  // that all which were admitted must go on answering
};

struct ConversationRow {
  int offered = 0;
  int answering = 0;  // the most that were between their first and their last piece of text at one moment
  int begun = 0;      // that got any text
  int refused = 0, failed = 0;
  bool all_read = false;           // nobody's prompt was being read any more when the hold began
  double read_seconds = 0;         // until then
  double held_seconds = 0;         // less than was asked for when an answer came to its end
  double output_tokens_per_s = 0;  // meanwhile, as gap_ms
  Percentiles gap_ms;
  ServerWatch server;  // of the whole run
  std::vector<std::string> errors;
};

// Begins all conversations at once, waits until the prompts of those that the server admits have been read, watches
// those that answer for a while, and leaves; also when the first answer is whole, as another begins in its place.
// kUnimplemented for a server without nosa's metrics.
Result<ConversationRow> RunConversations(const ConversationOptions& options);

// The first model that the server at `url` lists. As RunLoad.
Result<std::string> FirstModel(const std::string& url);

}  // namespace nosa::apps

// What both kinds of completion ask for beside their prompt: how answers are drawn, held, ended and told.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "engine/request.h"
#include "io/json.h"
#include "server/api_error.h"
#include "server/routes.h"
#include "text/grammar.h"

namespace nosa::server {

// Grammars that requests asked for last: compiling one takes as long as its schema is large, and the engine shares the
// masks of equal pointers. Thread-safe.
class GrammarCache {
 public:
  enum class Form : uint8_t { kText, kJsonSchema };
  // As text::Grammar::FromText and FromJsonSchema.
  Result<std::shared_ptr<const text::Grammar>> Get(Form form, const std::string& source);
  // Every JSON object.
  std::shared_ptr<const text::Grammar> AnyJsonObject();

 private:
  static constexpr size_t kMostKept = 16;

  struct Entry {
    Form form;
    std::string source;
    std::shared_ptr<const text::Grammar> grammar;
  };
  std::mutex mutex_;
  std::list<Entry> kept_;  // the one used last is first
  std::shared_ptr<const text::Grammar> any_object_;
};

struct GenerationParams {
  std::string model;
  // Sampling, stop, ignore_eos, grammar; without a prompt and without max_tokens.
  engine::Request request;
  std::optional<int> max_tokens;
  std::optional<uint64_t> seed;
  int choices = 1;    // of each prompt
  int logprobs = -1;  // as ServiceRequest's
  bool stream = false;
  bool include_usage = false;  // a last chunk with the usage
  bool progress = false;       // chunks that say how far the prompt is read
};

// `body` has passed CheckFields(kind, body).
std::optional<ApiError> ParseGenerationParams(BodyKind kind, const io::OrderedJson& body, GrammarCache* grammars,
                                              GenerationParams* params);

// An integer of a field whose range the table has checked.
int64_t ToInteger(const io::OrderedJson& value);

}  // namespace nosa::server

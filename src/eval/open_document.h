// A document read once by the engine, and questions put to it, each from the document's end.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/hash.h"
#include "base/ids.h"
#include "engine/engine.h"

namespace nosa::eval {

// Tokens through the model and the seconds they took.
struct Work {
  int64_t tokens = 0;
  double seconds = 0;

  double per_second() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
  Work& operator+=(const Work& other) {
    tokens += other.tokens;
    seconds += other.seconds;
    return *this;
  }
};

// What reading a document and answering about it took.
struct DocumentWork {
  int document_tokens = 0;
  Work reading;                       // of the document
  Work questions;                     // read after it, each from the document's end
  Work decode;                        // answers, a token at a time
  engine::EngineStats while_reading;  // counters' differences; peaks are the engine's, of all time
  engine::EngineStats while_answering;
  uint64_t kv_bytes = 0;     // of the longest sequence in whole blocks, wherever they lay
  uint64_t fingerprint = 0;  // of all replies' fingerprints, in order

  // Adds the work and the counts of another document, for sums; what is of one document stays.
  void Add(const DocumentWork& other);
};

// Without blanks and line breaks around it.
std::string Trimmed(std::string_view text);

struct Inquiry {
  std::vector<TokenId> ids = {};  // what follows the document
  int max_tokens = 0;
  std::vector<std::string> stop = {};
};

struct Reply {
  std::string text;  // up to the stop string, without blanks around it
  std::vector<TokenId> ids;
  uint64_t fingerprint = 0;
};

// How likely the model thought an answer that it was given.
struct AnswerScore {
  double loss = 0;    // sum over its tokens, nats
  int tokens = 0;     // of the answer
  int likeliest = 0;  // of these, tokens that the model would have chosen
};

// Holds one sequence of the engine, which outlives it and serves nobody else meanwhile. Nothing is asked before Read
// has succeeded, or after an error. For the caller of Engine::Step.
class OpenDocument {
 public:
  OpenDocument(engine::Engine& engine, std::vector<TokenId> document);
  ~OpenDocument();
  OpenDocument(const OpenDocument&) = delete;
  OpenDocument& operator=(const OpenDocument&) = delete;

  // `reserve_tokens`: the most that the document and any question with its answer will hold. False from `progress`
  // gives it up: kCancelled. Else fails as Engine::Submit or as the request does.
  Status Read(int reserve_tokens, FunctionRef<bool(int done, int total)> progress);
  // Answers greedily. Fails as Engine::Continue or as the request does.
  Result<Reply> Ask(const Inquiry& inquiry);
  // Reads the question and `answer` (not empty) as one more piece of text. What it takes is in no figure of work(), if
  // it comes after the last Ask. Fails as Ask.
  Result<AnswerScore> Score(std::span<const TokenId> question, std::span<const TokenId> answer);

  const DocumentWork& work() const { return work_; }

 private:
  engine::Engine& engine_;
  std::vector<TokenId> document_;
  engine::RequestId id_;
  engine::EngineStats when_read_;
  DocumentWork work_;
  StreamHash fingerprints_;
  int64_t longest_ = 0;
};

}  // namespace nosa::eval

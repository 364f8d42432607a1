// The planted-facts task of models/nosa-21m/MODEL_CARD.md: numbers hidden in a long text, asked for at its end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/ids.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace nosa::eval {

struct RecallOptions {
  int tokens = 8192;                // of the document with its facts and the longest question
  int facts = 8;                    // at most RecallWords().size()
  std::vector<double> depths = {};  // `facts` shares of the document, in [0, 1]; empty: the middles of equal parts
  uint64_t seed = 0;                // draws words and numbers
};

// A planted line "# The secret number of WORD is NNNNN.".
struct Fact {
  std::string word;
  std::string number;             // five digits
  TokenPos position = 0;          // of the line's first token
  int tokens = 0;                 // of the line
  double depth = 0;               // position as a share of the document
  std::vector<TokenId> question;  // what follows the document: "\n# The secret number of WORD is"
};

struct RecallTask {
  std::vector<TokenId> document;
  std::vector<Fact> facts;  // by position
  uint64_t seed = 0;

  // The most tokens a sequence of the task holds, answers included.
  int reserve_tokens() const;
};

// The nouns a fact may be about: those the demo model was trained with.
const std::vector<std::string_view>& RecallWords();

// Tokens of an answer at most: five digits and a full stop are at most seven of any vocabulary here.
inline constexpr int kRecallAnswerTokens = 8;

// Facts are lines of their own, whole, the nearest line boundary at or before their depth. Lines of `text` that speak
// of secret numbers are left out: they would answer the question, or contradict it. Same arguments, same task.
// kInvalidArgument: too many facts, depths that do not fit, or a text too short (says how many tokens are needed).
Result<RecallTask> BuildRecallTask(const text::Tokenizer& tokenizer, std::string_view text,
                                   const RecallOptions& options);

struct RecallAnswer {
  std::string text;  // up to the full stop or the end of the line, without blanks around it
  bool ok = false;   // it is the number
  std::vector<TokenId> ids;
  uint64_t fingerprint = 0;
};

// Tokens through the model and the seconds they took.
struct Work {
  int64_t tokens = 0;
  double seconds = 0;
  double per_second() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
};

struct RecallReport {
  std::vector<Fact> facts;            // of the task, without their questions' tokens
  std::vector<RecallAnswer> answers;  // of facts[i]
  int document_tokens = 0;
  Work reading;                       // of the document
  Work questions;                     // read after it, each from the document's end
  Work decode;                        // answers, a token at a time
  engine::EngineStats while_reading;  // counters' differences; peaks are the engine's, of all time
  engine::EngineStats while_answering;
  uint64_t kv_bytes = 0;     // of the longest sequence in whole blocks, wherever they lay
  uint64_t fingerprint = 0;  // of all answers' fingerprints, in order

  int correct() const;
};

// What happens in a run, as it happens.
struct RecallProgress {
  int document_done = 0, document_tokens = 0;
  const Fact* fact = nullptr;  // set with `answer` when an answer is there; else the document is being read
  const RecallAnswer* answer = nullptr;
};
// False gives the run up.
using RecallCallback = FunctionRef<bool(const RecallProgress&)>;

// Reads the document once and asks for each fact greedily, every time from the document's end. The engine has the
// task's tokenizer. kCancelled when `progress` gave it up; else fails as Engine::Submit, Continue or a request do.
Result<RecallReport> RunRecall(engine::Engine& engine, const RecallTask& task, RecallCallback progress);

}  // namespace nosa::eval

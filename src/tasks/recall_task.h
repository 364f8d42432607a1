// The planted-facts task of models/nosa-21m/MODEL_CARD.md: numbers hidden in a long text, asked for at its end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "tasks/words.h"
#include "text/tokenizer.h"

namespace nosa::tasks {

struct RecallOptions {
  int tokens = 8192;                // of the document with its facts and the longest question
  int facts = 8;                    // at most Nouns().size()
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

// Tokens of an answer at most: five digits and a full stop are at most seven of any vocabulary here.
inline constexpr int kRecallAnswerTokens = 8;

// Facts are lines of their own, whole, the nearest line boundary at or before their depth. Lines of `text` that speak
// of secret numbers are left out: they would answer the question, or contradict it. Same arguments, same task.
// kInvalidArgument: too many facts, depths that do not fit, or a text too short (says how many tokens are needed).
Result<RecallTask> BuildRecallTask(const text::Tokenizer& tokenizer, std::string_view text,
                                   const RecallOptions& options);

}  // namespace nosa::tasks

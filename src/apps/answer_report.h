// Answers and how they came about, for machines (the JSON that `nosa generate --json` promises) and for people.
#pragma once

#include <string>
#include <vector>

#include "apps/session.h"
#include "engine/engine.h"
#include "io/json.h"

namespace nosa::apps {

struct Answer {
  std::string name;  // of the prompt
  engine::RequestResult result;
};

// Borrows the session and the engine.
struct RunReport {
  const Session& session;
  const engine::Engine& engine;
  std::vector<Answer> answers;
  double first_token_seconds = -1;  // from the first step on; negative: there was none

  int64_t GeneratedTokens() const;
};

// Share of the blocks asked for that were in the fastest tier; 1 when none was asked for.
double HitRate(const kv::StoreStats& stats);

// "kv" of the JSON: the engine's counters, the same for every answer of a batch.
io::OrderedJson KvJson(const RunReport& report);
io::OrderedJson AnswerJson(const RunReport& report, const Answer& answer);
// An object, or a list for several answers.
void PrintAnswersAsJson(const RunReport& report);

// Texts to stdout; a line with the prompt's name before each if there are several; ids where there is no tokenizer.
void PrintAnswers(const RunReport& report);
// To stderr.
void PrintRunSummary(const RunReport& report);

// "0x0123456789abcdef"
std::string FormatFingerprint(uint64_t fingerprint);

}  // namespace nosa::apps

// What a run of planted facts showed, for people and machines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/session.h"
#include "engine/engine.h"
#include "eval/recall.h"
#include "io/json.h"
#include "tasks/corpus.h"

namespace nosa::apps {

// Facts, answers, times and what was counted.
io::OrderedJson RecallJson(const eval::RecallReport& report, const kv::KvStore& store);

// One text of `tokens` tokens for `seed`, from the sources' files in an order drawn by it.
Result<tasks::RecallTask> MakeRecallTask(const Session& session, const tasks::Corpus& corpus,
                                         const tasks::RecallOptions& options);

// Runs a task with a bar on stderr while the document is read, until interrupted. `on_answer` sees each answer as it
// comes.
Result<eval::RecallReport> RunRecallWithBar(const Session& session, engine::Engine& engine,
                                            const tasks::RecallTask& task, const std::string& what,
                                            FunctionRef<void(const tasks::Fact&, const eval::RecallAnswer&)> on_answer);

}  // namespace nosa::apps

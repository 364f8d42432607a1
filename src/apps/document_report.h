// What reading documents and answering about them took, for people and machines.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "eval/open_document.h"
#include "io/json.h"

namespace nosa::apps {

// "1.5 KiB", fetched for each of `tokens`.
std::string FetchedPerToken(const engine::EngineStats& stats, int64_t tokens);

io::OrderedJson DocumentTimingJson(const eval::DocumentWork& work);
// `store`: of the engine that did it.
io::OrderedJson DocumentKvJson(const eval::DocumentWork& work, const kv::KvStore& store);

// Columns of a table, and their cells for one document or the sum of several; what they are, in a sentence.
std::vector<std::string> WorkHeader();
std::vector<std::string> WorkCells(const eval::DocumentWork& work);
inline constexpr char kWorkLegend[] =
    "Locality is of decode steps; hit rate and fetches are of questions and answers.\n";

}  // namespace nosa::apps

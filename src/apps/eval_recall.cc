// nosa eval recall: planted facts, by length and depth.
#include <algorithm>
#include <memory>

#include "apps/command.h"
#include "apps/document_report.h"
#include "apps/recall_report.h"
#include "apps/report.h"
#include "apps/table.h"

namespace nosa::apps {
namespace {

struct RecallFlags {
  CommonFlags common;
  std::vector<std::string> sources;
  std::vector<int> lengths = {4096, 8192};
  int facts = 8;
  int texts = 4;
  uint64_t seed = 0;
};

// Everything of one length.
struct LengthResult {
  int tokens = 0;
  std::vector<eval::RecallReport> texts;

  // Of the facts at place `place`; of all with -1.
  int Correct(int place) const {
    int correct = 0;
    for (const eval::RecallReport& report : texts) {
      for (int i = 0; i < static_cast<int>(report.answers.size()); ++i) {
        if ((place < 0 || i == place) && report.answers[static_cast<size_t>(i)].ok) ++correct;
      }
    }
    return correct;
  }
};

std::string Share(int part, int whole) { return fmt::format("{:.0f} %", 100.0 * part / whole); }

void PrintRecall(const RecallFlags& flags, const std::vector<LengthResult>& results) {
  std::vector<std::string> header = {"tokens"};
  for (int i = 0; i < flags.facts; ++i) header.push_back(Share(2 * i + 1, 2 * flags.facts));
  header.emplace_back("all depths");
  Table table(header);
  for (const LengthResult& result : results) {
    std::vector<std::string> row = {FormatCount(result.tokens)};
    for (int i = 0; i < flags.facts; ++i) row.push_back(fmt::format("{}/{}", result.Correct(i), flags.texts));
    const int all = flags.texts * flags.facts;
    row.push_back(fmt::format("{}/{} = {}", result.Correct(-1), all, Share(result.Correct(-1), all)));
    table.Row(std::move(row));
  }
  Print(fmt::format("Facts recalled by length and depth ({} texts of {} facts each, seed {})\n\n{}", flags.texts,
                    flags.facts, flags.seed, table.ToString()));
}

void PrintWork(const std::vector<LengthResult>& results) {
  std::vector<std::string> header = WorkHeader();
  header.insert(header.begin(), "tokens");
  Table table(header);
  for (const LengthResult& result : results) {
    eval::DocumentWork sum = result.texts.front();
    for (size_t i = 1; i < result.texts.size(); ++i) sum.Add(result.texts[i]);
    std::vector<std::string> row = WorkCells(sum);
    row.insert(row.begin(), FormatCount(result.tokens));
    table.Row(std::move(row));
  }
  Print("\n" + table.ToString() + "\n" + kWorkLegend);
}

io::OrderedJson ToJson(const std::vector<LengthResult>& results, const RecallFlags& flags, const kv::KvStore& store) {
  io::OrderedJson json;
  json["seed"] = flags.seed;
  json["lengths"] = io::OrderedJson::array();
  for (const LengthResult& result : results) {
    io::OrderedJson length;
    length["tokens"] = result.tokens;
    length["correct"] = result.Correct(-1);
    length["asked"] = flags.texts * flags.facts;
    length["texts"] = io::OrderedJson::array();
    for (const eval::RecallReport& report : result.texts) length["texts"].push_back(RecallJson(report, store));
    json["lengths"].push_back(std::move(length));
  }
  return json;
}

Status Recall(const RecallFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_RETURN_IF_ERROR(session->NeedTokenizer());
  NOSA_ASSIGN_OR_RETURN(const tasks::Corpus corpus, tasks::ReadCorpus({flags.sources.begin(), flags.sources.end()}));
  const int longest = *std::max_element(flags.lengths.begin(), flags.lengths.end());
  const int sequences[] = {SequenceTokens(*session, static_cast<size_t>(longest), tasks::kRecallAnswerTokens)};
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, MakeEngine(*session, sequences));
  std::vector<LengthResult> results;
  for (const int tokens : flags.lengths) {
    LengthResult& result = results.emplace_back();
    result.tokens = tokens;
    for (int text = 0; text < flags.texts; ++text) {
      tasks::RecallOptions options;
      options.tokens = tokens;
      options.facts = flags.facts;
      options.seed = flags.seed + static_cast<uint64_t>(text);
      NOSA_ASSIGN_OR_RETURN(const tasks::RecallTask task, MakeRecallTask(*session, corpus, options));
      const std::string what = fmt::format("{} tokens, text {} of {}", FormatCount(tokens), text + 1, flags.texts);
      NOSA_ASSIGN_OR_RETURN(eval::RecallReport report,
                            RunRecallWithBar(*session, *engine, task, what, [](const auto&, const auto&) {}));
      result.texts.push_back(std::move(report));
    }
  }
  if (flags.common.json) {
    PrintJson(ToJson(results, flags, engine->store()));
  } else {
    PrintRecall(flags, results);
    if (!flags.common.quiet) PrintWork(results);
  }
  return Status::Ok();
}

}  // namespace

void AddEvalRecall(Command command) {
  auto flags = std::make_shared<RecallFlags>();
  command.Texts("--source", &flags->sources, "file or folder with text to hide facts in; may be given several times",
                "PATH");
  command.Required("--source");
  command.Ints("--lengths", &flags->lengths, 1, "tokens of each text, facts and question included");
  command.Int("--facts", &flags->facts, 1, "facts in each text, evenly spread",
              static_cast<int>(tasks::Nouns().size()));
  command.Int("--texts", &flags->texts, 1, "texts of each length");
  command.Seed("--seed", &flags->seed, "of the first text; the next has the next seed");
  AddCommonFlags(command, &flags->common);
  command.Does([flags] { return Recall(*flags); }, [flags] { return CheckCommonFlags(flags->common); });
}

}  // namespace nosa::apps

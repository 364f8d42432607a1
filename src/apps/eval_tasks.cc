// nosa eval tasks: the questions of docs/tasks.md, by task, length and depth.
#include <algorithm>
#include <memory>

#include "apps/answer_report.h"
#include "apps/command.h"
#include "apps/document_report.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/session.h"
#include "apps/table.h"
#include "eval/task_run.h"
#include "tasks/corpus.h"
#include "tasks/words.h"

namespace nosa::apps {
namespace {

struct TasksFlags {
  CommonFlags common;
  std::vector<std::string> tasks;  // empty: all
  std::vector<std::string> sources;
  std::vector<int> lengths = {4096, 8192};
  int texts = 4;
  int questions = 4;
  uint64_t seed = 0;

  std::vector<std::string> Names() const {
    std::vector<std::string> names = tasks;
    if (names.empty()) {
      for (const tasks::TaskInfo& info : tasks::TaskInfos()) names.emplace_back(info.name);
    }
    return names;
  }
};

struct TextResult {
  uint64_t seed = 0;
  tasks::Example example;
  eval::TaskReport report;
};

// Everything of one task and length.
struct RowResult {
  std::string task;
  int tokens = 0;
  std::vector<TextResult> texts;
};

struct Score {
  int right = 0, asked = 0;
  double loss = 0;  // sum, nats
  int answer_tokens = 0, likeliest = 0;

  double mean_loss() const { return answer_tokens == 0 ? 0 : loss / answer_tokens; }
};

// Of questions whose depth is in [from, to).
Score ScoreOf(const RowResult& row, double from, double to) {
  Score score;
  for (const TextResult& text : row.texts) {
    for (size_t i = 0; i < text.report.answers.size(); ++i) {
      if (text.example.questions[i].depth < from || text.example.questions[i].depth >= to) continue;
      const eval::TaskAnswer& answer = text.report.answers[i];
      ++score.asked;
      score.right += answer.ok ? 1 : 0;
      score.loss += answer.score.loss;
      score.answer_tokens += answer.score.tokens;
      score.likeliest += answer.score.likeliest;
    }
  }
  return score;
}

// Depths are below 1: evidence is a token of the document.
Score ScoreOf(const RowResult& row) { return ScoreOf(row, 0, 1); }

void PrintScores(const TasksFlags& flags, const std::vector<RowResult>& rows) {
  const int parts = flags.questions;
  const auto percent = [parts](int part) { return fmt::format("{:.0f}", 100.0 * part / parts); };
  std::vector<std::string> header = {"task", "tokens"};
  for (int i = 0; i < parts; ++i) header.push_back(fmt::format("{} to {} %", percent(i), percent(i + 1)));
  header.insert(header.end(), {"all depths", "tokens right", "loss"});
  Table table(header);
  for (const RowResult& row : rows) {
    std::vector<std::string> cells = {row.task, FormatCount(row.tokens)};
    for (int i = 0; i < parts; ++i) {
      const Score score = ScoreOf(row, static_cast<double>(i) / parts, static_cast<double>(i + 1) / parts);
      cells.push_back(score.asked == 0 ? "-" : fmt::format("{}/{}", score.right, score.asked));
    }
    const Score all = ScoreOf(row);
    cells.push_back(fmt::format("{}/{} = {:.0f} %", all.right, all.asked, 100.0 * all.right / all.asked));
    cells.push_back(fmt::format("{:.0f} %", 100.0 * all.likeliest / all.answer_tokens));
    cells.push_back(fmt::format("{:.3f}", all.mean_loss()));
    table.Row(std::move(cells));
  }
  Print(fmt::format(
      "Questions answered by task, length and depth ({} texts of up to {} questions each, seed {})\n\n{}\n"
      "An answer is right when it is the whole true one. Of true answers, given token by token: the share of tokens\n"
      "that the model would have chosen, and their mean loss in nats.\n",
      flags.texts, flags.questions, flags.seed, table.ToString()));
}

void PrintWork(const std::vector<RowResult>& rows) {
  std::vector<std::string> header = WorkHeader();
  header.insert(header.begin(), {"task", "tokens"});
  Table table(header);
  for (const RowResult& row : rows) {
    eval::DocumentWork sum = row.texts.front().report;
    for (size_t i = 1; i < row.texts.size(); ++i) sum.Add(row.texts[i].report);
    std::vector<std::string> cells = WorkCells(sum);
    cells.insert(cells.begin(), {row.task, FormatCount(row.tokens)});
    table.Row(std::move(cells));
  }
  Print("\n" + table.ToString() + "\n" + kWorkLegend);
}

io::OrderedJson TextJson(const TextResult& text, const kv::KvStore& store) {
  io::OrderedJson json;
  json["seed"] = text.seed;
  json["document_tokens"] = text.report.document_tokens;
  json["correct"] = text.report.correct();
  json["questions"] = io::OrderedJson::array();
  for (size_t i = 0; i < text.report.answers.size(); ++i) {
    const eval::TaskAnswer& answer = text.report.answers[i];
    io::OrderedJson question;
    question["depth"] = text.example.questions[i].depth;
    question["evidence"] = text.example.questions[i].evidence;
    question["truth"] = answer.truth;
    question["answer"] = answer.text;
    question["ok"] = answer.ok;
    question["loss"] = answer.score.loss / answer.score.tokens;
    question["truth_tokens"] = answer.score.tokens;
    question["truth_tokens_likeliest"] = answer.score.likeliest;
    question["ids"] = answer.ids;
    question["fingerprint"] = FormatFingerprint(answer.fingerprint);
    json["questions"].push_back(std::move(question));
  }
  json["fingerprint"] = FormatFingerprint(text.report.fingerprint);
  json["timing"] = DocumentTimingJson(text.report);
  json["kv"] = DocumentKvJson(text.report, store);
  return json;
}

io::OrderedJson ToJson(const Session& session, const TasksFlags& flags, const engine::Engine& engine,
                       const std::vector<RowResult>& rows) {
  const engine::EngineOptions options = BaseEngineOptions(session);
  io::OrderedJson json;
  json["model"] = session.flags.model;
  json["model_fingerprint"] = FormatFingerprint(session.model->binding());
  json["dtype"] = std::string(DTypeName(session.model->dtype()));
  json["attention"] = options.attention.selector;
  json["prefill"] = options.attention.dense_prefill ? "dense" : "sparse";
  json["block_size"] = session.model->attention_config().block_size;
  json["topk"] = session.model->attention_config().topk;
  json["query_topk"] = session.model->attention_config().query_topk;
  json["seed"] = flags.seed;
  json["texts"] = flags.texts;
  json["questions"] = flags.questions;
  json["results"] = io::OrderedJson::array();
  for (const RowResult& row : rows) {
    const Score score = ScoreOf(row);
    io::OrderedJson result;
    result["task"] = row.task;
    result["tokens"] = row.tokens;
    result["correct"] = score.right;
    result["asked"] = score.asked;
    result["truth_tokens"] = score.answer_tokens;
    result["truth_tokens_likeliest"] = score.likeliest;
    result["loss"] = score.mean_loss();
    result["texts"] = io::OrderedJson::array();
    for (const TextResult& text : row.texts) result["texts"].push_back(TextJson(text, engine.store()));
    json["results"].push_back(std::move(result));
  }
  return json;
}

Result<RowResult> RunRow(const Session& session, const TasksFlags& flags, engine::Engine& engine,
                         const tasks::Filler& filler, RowResult row) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<tasks::Task> task, tasks::MakeTask(row.task));
  for (int i = 0; i < flags.texts; ++i) {
    TextResult& text = row.texts.emplace_back();
    text.seed = flags.seed + static_cast<uint64_t>(i);
    auto example = task->Make(filler, {.tokens = row.tokens, .questions = flags.questions, .seed = text.seed});
    if (!example.ok()) return example.status().WithContext(row.task);
    text.example = std::move(example).value();
    Progress progress(
        {.what = fmt::format("{}, {} tokens, text {} of {}", row.task, FormatCount(row.tokens), i + 1, flags.texts),
         .total = static_cast<int64_t>(text.example.document.size()),
         .enabled = !session.flags.json && !session.flags.quiet});
    NOSA_ASSIGN_OR_RETURN(text.report, eval::RunTask(engine, *session.tokenizer, text.example, [&](int done, int) {
                            progress.Update(done);
                            return !Interrupted();
                          }));
  }
  return row;
}

Status Tasks(const TasksFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_RETURN_IF_ERROR(session->NeedTokenizer());
  NOSA_ASSIGN_OR_RETURN(const tasks::Corpus corpus, tasks::ReadCorpus({flags.sources.begin(), flags.sources.end()}));
  const int longest = *std::max_element(flags.lengths.begin(), flags.lengths.end());
  // So much that texts are of different places.
  const uint64_t bytes = static_cast<uint64_t>(longest) * static_cast<uint64_t>(flags.texts) * tasks::kBytesPerToken;
  const std::vector<TokenId> ids =
      tasks::EncodePiece(*session->tokenizer, tasks::JoinDocuments(corpus, bytes, flags.seed));
  NOSA_ASSIGN_OR_RETURN(const tasks::Filler filler, tasks::Filler::Make(session->tokenizer, ids));
  const int sequences[] = {SequenceTokens(*session, static_cast<size_t>(longest), eval::kSpareAnswerTokens)};
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, MakeEngine(*session, sequences));
  std::vector<RowResult> rows;
  for (const std::string& name : flags.Names()) {
    for (const int tokens : flags.lengths) {
      NOSA_ASSIGN_OR_RETURN(RowResult row, RunRow(*session, flags, *engine, filler, {name, tokens, {}}));
      rows.push_back(std::move(row));
    }
  }
  if (flags.common.json) {
    PrintJson(ToJson(*session, flags, *engine, rows));
  } else {
    PrintScores(flags, rows);
    if (!flags.common.quiet) PrintWork(rows);
  }
  return Status::Ok();
}

Status Check(const TasksFlags& flags) {
  for (const std::string& name : flags.tasks) {
    const auto task = tasks::MakeTask(name);
    if (!task.ok()) return task.status().WithContext("--task");
  }
  return CheckCommonFlags(flags.common);
}

}  // namespace

void AddEvalTasks(Command command) {
  auto flags = std::make_shared<TasksFlags>();
  command.Texts("--task", &flags->tasks, "a task of docs/tasks.md; may be given several times (default: all)", "NAME");
  command.Texts("--source", &flags->sources, "file or folder with text to plant lines in; may be given several times",
                "PATH");
  command.Required("--source");
  command.Ints("--lengths", &flags->lengths, 1, "tokens of each text with all its questions and answers");
  command.Int("--texts", &flags->texts, 1, "texts of each task and length");
  command.Int("--questions", &flags->questions, 1, "questions about each text, where the task has so many");
  command.Seed("--seed", &flags->seed, "of the first text; the next has the next seed");
  AddCommonFlags(command, &flags->common);
  command.Does([flags] { return Tasks(*flags); }, [flags] { return Check(*flags); });
}

}  // namespace nosa::apps

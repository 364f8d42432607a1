// What every task must do. A program instantiates it over its tasks:
//   INSTANTIATE_TEST_SUITE_P(Mine, TaskConformance, testing::ValuesIn(...), NameOf);
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tasks/corpus.h"
#include "tasks/layout.h"
#include "tasks/task.h"
#include "tasks/tasks_test_util.h"
#include "tasks/words.h"

namespace nosa::tasks {

struct TaskCase {
  std::string name;
  std::unique_ptr<Task> (*make)(const std::string& name);
  friend std::ostream& operator<<(std::ostream& out, const TaskCase& c) { return out << c.name; }
};

inline std::string NameOf(const testing::TestParamInfo<TaskCase>& info) { return info.param.name; }

class TaskConformance : public testing::TestWithParam<TaskCase> {
 protected:
  // This repository's own sources, the tasks' and their documentation among them.
  static const std::vector<TokenId>& Haystack() {
    static const auto* const ids = new std::vector<TokenId>(EncodePiece(
        *DemoTokenizer(), JoinDocuments(*ReadCorpus({NOSA_SOURCE_DIR "/src", NOSA_SOURCE_DIR "/docs"}), 400000, 3)));
    return *ids;
  }
  static const Filler& DemoFiller() {
    static const auto* const filler = new Filler(*Filler::Make(DemoTokenizer(), Haystack()));
    return *filler;
  }

  Example Make(const ExampleOptions& options) const {
    auto example = task_->Make(DemoFiller(), options);
    EXPECT_TRUE(example.ok()) << example.status().ToString();
    return example.ok() ? std::move(example).value() : Example{};
  }
  // From a token to the end of its line, without the break.
  std::string LineAt(const Example& example, TokenPos at) const {
    const std::string text = DemoText(std::span(example.document).subspan(static_cast<size_t>(at)));
    return text.substr(0, text.find('\n'));
  }
  // "12345" and "54321" of " 12345, 54321.".
  static std::vector<std::string> Items(const std::string& answer) {
    std::vector<std::string> items;
    std::string item;
    for (const char c : answer) {
      if (c != ' ' && c != ',' && c != '.') {
        item += c;
      } else if (!item.empty()) {
        items.push_back(std::move(item));
        item.clear();
      }
    }
    return items;
  }

  void ExpectSound(const Example& example, const ExampleOptions& options) const {
    EXPECT_EQ(example.total(), options.tokens);
    EXPECT_LE(example.longest(), example.total());
    EXPECT_EQ(static_cast<int>(example.questions.size()), std::min(options.questions, task_->max_questions()));
    std::set<std::vector<TokenId>> asked;
    for (const Question& question : example.questions) {
      EXPECT_TRUE(asked.insert(question.ids).second) << "asked twice: " << DemoText(question.ids);
      EXPECT_TRUE(DemoText(question.ids).starts_with("\n"));
      ExpectEnds(DemoText(question.answer));
      ExpectEvidence(example, question);
    }
    for (const TokenId id : example.document) ASSERT_FALSE(DemoTokenizer()->IsSpecial(id));
  }
  void ExpectEnds(const std::string& answer) const {
    ASSERT_GT(answer.size(), 1u);
    EXPECT_EQ(answer.find(answer.back()), answer.size() - 1) << answer;
    EXPECT_EQ(std::isalnum(static_cast<unsigned char>(answer.back())), 0) << answer;
  }
  void ExpectEvidence(const Example& example, const Question& question) const {
    ASSERT_FALSE(question.evidence.empty());
    EXPECT_DOUBLE_EQ(question.depth,
                     static_cast<double>(question.evidence[0]) / static_cast<double>(example.document.size()));
    std::string lines;
    TokenPos last = -1;
    for (const TokenPos at : question.evidence) {
      ASSERT_GT(at, last) << "positions rise";
      ASSERT_LT(at, static_cast<TokenPos>(example.document.size()));
      last = at;
      if (at > 0) {
        EXPECT_TRUE(DemoFiller().EndsLine(example.document[static_cast<size_t>(at) - 1])) << "a line of its own";
      }
      lines += LineAt(example, at) + "\n";
    }
    for (const std::string& item : Items(DemoText(question.answer)))
      EXPECT_NE(lines.find(item), std::string::npos) << item << " is not in\n" << lines;
  }

  std::unique_ptr<Task> task_ = GetParam().make(GetParam().name);
};

TEST_P(TaskConformance, ExactlyTheTokensAskedForWithTheEvidenceWhereItSays) {
  for (const int tokens : {1024, 1025, 2047, 4096, 8192, 32768}) {
    for (const int questions : {1, 3, 4}) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens, " << questions << " questions, seed " << seed);
        const ExampleOptions options = {.tokens = tokens, .questions = questions, .seed = seed};
        ExpectSound(Make(options), options);
      }
    }
  }
}

TEST_P(TaskConformance, APureFunctionOfItsArguments) {
  const ExampleOptions options = {.tokens = 2048, .questions = 2, .seed = 7};
  const auto same = [](const Example& a, const Example& b) {
    if (a.document != b.document || a.questions.size() != b.questions.size()) return false;
    for (size_t i = 0; i < a.questions.size(); ++i) {
      const Question &x = a.questions[i], &y = b.questions[i];
      if (x.ids != y.ids || x.answer != y.answer || x.evidence != y.evidence || x.depth != y.depth) return false;
    }
    return true;
  };
  const Example example = Make(options);
  EXPECT_TRUE(same(example, Make(options)));
  std::vector<Example> others(4);
  std::vector<std::thread> threads;
  for (Example& other : others)
    threads.emplace_back([this, &other, &options] { other = *task_->Make(DemoFiller(), options); });
  for (std::thread& thread : threads) thread.join();
  for (const Example& other : others) EXPECT_TRUE(same(example, other)) << "from any thread";
}

TEST_P(TaskConformance, SeedsDiffer) {
  std::set<std::vector<TokenId>> documents, answers;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Example example = Make({.tokens = 1500, .seed = seed});
    documents.insert(example.document);
    answers.insert(example.questions.at(0).answer);
  }
  EXPECT_EQ(documents.size(), 50u);
  EXPECT_GE(answers.size(), 49u);
}

TEST_P(TaskConformance, RefusesInASentenceWhatCannotBe) {
  const auto refuses = [&](const ExampleOptions& options, const std::string& says) {
    const auto example = task_->Make(DemoFiller(), options);
    ASSERT_FALSE(example.ok());
    EXPECT_EQ(example.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(example.status().message().find(says), std::string_view::npos) << example.status().ToString();
  };
  for (const int tokens : {-1, 0, 1, 30}) refuses({.tokens = tokens}, fmt::format("found {}", tokens));
  refuses({.questions = 0}, "at least 1 question");
  refuses({.questions = 2, .depths = {0.5}}, "a depth for each of 2 questions, found 1");
  refuses({.questions = 1, .depths = {1.5}}, "depths in [0, 1], found 1.5");
  refuses({.questions = 1, .depths = {std::nan("")}}, "depths in [0, 1]");
}

// The smallest size that a refusal names is one that works.
TEST_P(TaskConformance, TheLeastSizeIsEnough) {
  for (const int questions : {1, 5}) {
    ExampleOptions options = {.tokens = 30, .questions = questions, .seed = 3};
    const auto refused = task_->Make(DemoFiller(), options);
    ASSERT_FALSE(refused.ok());
    const std::string message(refused.status().message());
    ASSERT_EQ(std::sscanf(message.c_str(), "expected at least %d tokens", &options.tokens), 1) << message;
    ExpectSound(Make(options), options);
    --options.tokens;
    EXPECT_FALSE(task_->Make(DemoFiller(), options).ok()) << options.tokens;
  }
}

TEST_P(TaskConformance, ExtremeDepthsAndManyQuestions) {
  for (const ExampleOptions& options : {ExampleOptions{.tokens = 2048, .depths = {0.0}},
                                        {.tokens = 2048, .depths = {1.0}},
                                        {.tokens = 6000, .questions = 4, .depths = {1, 0, 1, 0}},
                                        {.tokens = 6000, .questions = 3, .depths = {0.5, 0.5, 0.5}},
                                        {.tokens = 16384, .questions = 1000}}) {
    ExpectSound(Make(options), options);
  }
}

TEST_P(TaskConformance, EvidenceBeginsWhereItIsWanted) {
  const std::vector<double> depths = {0.9, 0.1, 0.3, 0.6};
  const Example example = Make({.tokens = 8192, .questions = 4, .seed = 9, .depths = depths});
  if (example.questions[0].evidence.size() > 8) GTEST_SKIP() << "it is all over the document";
  ASSERT_EQ(example.questions.size(), depths.size());
  // Off by the rest of a line, or by lines planted at the same place.
  for (size_t i = 0; i < depths.size(); ++i) EXPECT_NEAR(example.questions[i].depth, depths[i], 0.02) << i;
}

// Depths that nobody asked for are from all parts of the document.
TEST_P(TaskConformance, DrawnDepthsAreSpread) {
  std::vector<double> depths;
  int rising = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    for (const Question& question : Make({.tokens = 2048, .questions = 2, .seed = seed}).questions)
      depths.push_back(question.depth);
    rising += depths.size() > 1 && depths.end()[-2] < depths.back() ? 1 : 0;
  }
  if (depths.size() == 60) GTEST_SKIP() << "there is one question, about the whole";
  EXPECT_NEAR(rising, 30, 15) << "in a random order";
  std::sort(depths.begin(), depths.end());
  const double middle = depths[depths.size() / 2];
  EXPECT_NEAR(depths[depths.size() / 4], middle / 2, 0.1);
  EXPECT_LT(depths[0], 0.05);
  EXPECT_GT(depths.back(), 1.8 * middle) << "of what the task uses of a document, early or all";
}

// Text that says what the task's own lines say does not get between them.
TEST_P(TaskConformance, FillerThatSpeaksLikeItIsPassedOver) {
  const Example example = Make({.tokens = 2048, .seed = 1});
  std::vector<TokenId> ids = example.document;
  while (!ids.empty() && !DemoFiller().EndsLine(ids.back())) ids.pop_back();
  ids.insert(ids.end(), Haystack().begin(), Haystack().end());
  const Filler filler = *Filler::Make(DemoTokenizer(), ids);
  const Example other = *task_->Make(filler, {.tokens = static_cast<int>(filler.tokens()), .seed = 2});
  const Question& question = example.questions[0];
  if (question.evidence.size() > 8) GTEST_SKIP() << "the answer is no line of the text";
  const std::string text = DemoText(other.document);
  for (const TokenPos at : question.evidence)
    EXPECT_EQ(text.find(LineAt(example, at)), std::string::npos) << LineAt(example, at);
}

TEST_P(TaskConformance, RowsAreTheDocumentThenQuestionsAndAnswers) {
  const Example example = Make({.tokens = 1500, .questions = 3, .seed = 4});
  const TrainingRow row = LayOut(example, {.document = 0.25F, .question = 0.5F, .answer = 2});
  ASSERT_EQ(row.ids.size(), 1500u);
  ASSERT_EQ(row.weight.size(), 1499u);
  ASSERT_EQ(row.answer.size(), 1499u);
  EXPECT_TRUE(std::equal(example.document.begin(), example.document.end(), row.ids.begin()));
  size_t at = example.document.size();
  const auto expect = [&](const std::vector<TokenId>& ids, float weight, int answer) {
    for (const TokenId id : ids) {
      EXPECT_EQ(row.ids[at], id);
      EXPECT_EQ(row.weight[at - 1], weight);
      EXPECT_EQ(row.answer[at - 1], answer);
      ++at;
    }
  };
  for (const Question& question : example.questions) {
    expect(question.ids, 0.5F, 0);
    expect(question.answer, 2, 1);
  }
  EXPECT_EQ(at, row.ids.size());
  EXPECT_EQ(row.weight[0], 0.25F);
  EXPECT_EQ(row.answer[0], 0);
}

}  // namespace nosa::tasks

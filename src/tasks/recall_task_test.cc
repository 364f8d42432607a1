// With the demo model's own tokenizer on this repository's own sources.
#include "tasks/recall_task.h"

#include <cmath>
#include <set>

#include "tasks/corpus.h"
#include "tasks/tasks_test_util.h"

namespace nosa::tasks {
namespace {

const std::string& Haystack() {
  static const auto* const text = new std::string(JoinDocuments(*ReadCorpus({NOSA_SOURCE_DIR "/src"}), 120000, 3));
  return *text;
}

int Count(const std::string& text, std::string_view what) {
  int n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

void ExpectSound(const RecallTask& task, const RecallOptions& options) {
  size_t longest = 0;
  for (const Fact& fact : task.facts) longest = std::max(longest, fact.question.size());
  EXPECT_EQ(static_cast<int>(task.document.size() + longest), options.tokens) << "facts and question included";
  const std::string document = DemoText(task.document);
  EXPECT_EQ(Count(document, "secret number of"), options.facts);
  std::set<std::string> words;
  TokenPos last = -1;
  for (const Fact& fact : task.facts) {
    const std::string sentence = "# The secret number of " + fact.word + " is " + fact.number + ".";
    EXPECT_EQ(Count(document, "\n" + sentence + "\n") + Count(document.substr(0, sentence.size() + 1), sentence + "\n"),
              1)
        << "a whole line";
    const auto tokens =
        std::span(task.document).subspan(static_cast<size_t>(fact.position), static_cast<size_t>(fact.tokens));
    EXPECT_NE(DemoText(tokens).find(sentence), std::string::npos) << "at its position";
    EXPECT_EQ(DemoText(fact.question), "\n# The secret number of " + fact.word + " is");
    EXPECT_EQ(fact.number.size(), 5u);
    EXPECT_GT(fact.position, last);
    last = fact.position;
    EXPECT_TRUE(words.insert(fact.word).second);
    EXPECT_DOUBLE_EQ(fact.depth, static_cast<double>(fact.position) / static_cast<double>(task.document.size()));
  }
  EXPECT_EQ(task.reserve_tokens(), options.tokens + kRecallAnswerTokens);
}

TEST(RecallTaskTest, FactsAreWholeLinesAtTheirDepths) {
  for (const int tokens : {2048, 4096, 12288}) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE(testing::Message() << tokens << " tokens, seed " << seed);
      const RecallOptions options = {.tokens = tokens, .seed = seed};
      const auto task = BuildRecallTask(*DemoTokenizer(), Haystack(), options);
      ASSERT_TRUE(task.ok()) << task.status().ToString();
      ExpectSound(*task, options);
      for (int i = 0; i < options.facts; ++i) {
        // Off by the rest of a line and by seams.
        EXPECT_NEAR(task->facts[static_cast<size_t>(i)].depth * tokens, (i + 0.5) / options.facts * tokens, 120)
            << "fact " << i;
      }
    }
  }
}

TEST(RecallTaskTest, ExtremeDepthsAndCounts) {
  for (const RecallOptions& options : {RecallOptions{.tokens = 1024, .facts = 1, .depths = {0.0}},
                                       {.tokens = 1024, .facts = 1, .depths = {1.0}},
                                       {.tokens = 2000, .facts = 4, .depths = {1, 0, 1, 0}},
                                       {.tokens = 3000, .facts = 40, .depths = {}},
                                       {.tokens = 1500, .facts = 3, .depths = {0.5, 0.5, 0.5}}}) {
    const auto task = BuildRecallTask(*DemoTokenizer(), Haystack(), options);
    ASSERT_TRUE(task.ok()) << task.status().ToString();
    ExpectSound(*task, options);
    if (options.depths.size() == 1) {
      EXPECT_NEAR(task->facts[0].depth, options.depths[0], 0.1);
    }
  }
}

TEST(RecallTaskTest, TheSeedDrawsWordsAndNumbers) {
  const auto build = [](uint64_t seed) {
    return *BuildRecallTask(*DemoTokenizer(), Haystack(), {.tokens = 2048, .seed = seed});
  };
  const RecallTask a = build(5), b = build(5), c = build(6);
  EXPECT_EQ(a.document, b.document);
  EXPECT_NE(a.document, c.document);
  std::set<std::string> words, numbers;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (const Fact& fact : build(seed).facts) {
      words.insert(fact.word);
      numbers.insert(fact.number);
    }
  }
  EXPECT_GT(words.size(), 35u);
  EXPECT_GT(numbers.size(), 155u) << "160 draws from 90,000";
}

TEST(RecallTaskTest, OddTextsWork) {
  std::string odd;
  for (int i = 0; i < 2000; ++i)
    odd += "\r\n   \xff\xfe\n\n\n\t\u00e4\u4e2d \n# The secret number of apple is 12345.\n</s>";
  std::string one_line;
  for (int i = 0; i < 3000; ++i) one_line += "word, ";
  const std::string texts[] = {odd, one_line, std::string(20000, '\n')};
  for (const std::string& text : texts) {
    const RecallOptions options = {.tokens = 1500, .facts = 5};
    const auto task = BuildRecallTask(*DemoTokenizer(), text, options);
    if (!task.ok()) {
      EXPECT_EQ(&text, &texts[2]) << "white space may be few tokens";
      EXPECT_NE(task.status().message().find("a text of at least"), std::string_view::npos) << task.status().ToString();
      continue;
    }
    ExpectSound(*task, options);
    for (const TokenId id : task->document)
      EXPECT_FALSE(DemoTokenizer()->IsSpecial(id)) << "text from files is only text";
  }
}

TEST(RecallTaskTest, RefusesWhatCannotBe) {
  const auto code = [](const RecallOptions& options, std::string_view text) {
    return BuildRecallTask(*DemoTokenizer(), text, options).status().code();
  };
  EXPECT_EQ(code({.facts = 0}, Haystack()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.facts = 41}, Haystack()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.facts = 2, .depths = {0.5}}, Haystack()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.facts = 1, .depths = {1.5}}, Haystack()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.facts = 1, .depths = {std::nan("")}}, Haystack()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.tokens = 100}, Haystack()), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.tokens = 4096}, "too short"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.tokens = 4096}, ""), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nosa::tasks

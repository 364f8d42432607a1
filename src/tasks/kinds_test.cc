// Each task solved from its text alone, by who reads all of it: the answer is there, once, and in the form that
// docs/tasks.md shows.
#include <algorithm>
#include <functional>
#include <map>
#include <regex>

#include "tasks/corpus.h"
#include "tasks/task.h"
#include "tasks/tasks_test_util.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

const Filler& DemoFiller() {
  static const auto* const ids = new std::vector<TokenId>(
      EncodePiece(*DemoTokenizer(), JoinDocuments(*ReadCorpus({NOSA_SOURCE_DIR "/src"}), 200000, 3)));
  static const auto* const filler = new Filler(*Filler::Make(DemoTokenizer(), *ids));
  return *filler;
}

// All matches of whole lines, group by group.
std::vector<std::smatch> Lines(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  return {std::sregex_iterator(text.begin(), text.end(), regex), std::sregex_iterator()};
}

// What the question asks for, with `text` the document's; compared with the answer.
using Solve = std::function<std::string(const std::string& text, const std::string& question)>;

void ExpectSolved(std::string_view name, const Solve& solve) {
  const auto task = *MakeTask(name);
  for (const int tokens : {1024, 2048, 5000}) {
    for (uint64_t seed = 0; seed < 10; ++seed) {
      SCOPED_TRACE(testing::Message() << tokens << " tokens, seed " << seed);
      const auto example = task->Make(DemoFiller(), {.tokens = tokens, .questions = 4, .seed = seed});
      ASSERT_TRUE(example.ok()) << example.status().ToString();
      const std::string text = DemoText(example->document);
      for (const Question& question : example->questions)
        EXPECT_EQ(DemoText(question.answer), solve(text, DemoText(question.ids)));
    }
  }
}

// The last word of "\n# The secret number of apple is", say: group 1 of what matches all of the question.
std::string Asked(const std::string& question, const std::string& pattern) {
  std::smatch match;
  EXPECT_TRUE(std::regex_match(question, match, std::regex(pattern))) << question;
  return match[1];
}

std::string Secrets(const std::string& text, const std::string& word, const std::string& article) {
  std::string numbers;
  for (const std::smatch& line : Lines(text, "^# " + article + " secret number of (\\w+) is (\\d{5})\\.$")) {
    if (line[1] == word) numbers += (numbers.empty() ? " " : ", ") + line[2].str();
  }
  return numbers + ".";
}

TEST(KindsTest, Facts) {
  ExpectSolved("facts", [](const std::string& text, const std::string& question) {
    EXPECT_EQ(Lines(text, "^# The secret number of").size(), 4u);
    return Secrets(text, Asked(question, "\n# The secret number of (\\w+) is"), "The");
  });
}

TEST(KindsTest, MultiKey) {
  ExpectSolved("multikey", [](const std::string& text, const std::string& question) {
    const size_t facts = Lines(text, "^# The secret number of").size();
    EXPECT_GE(facts, 12u);
    EXPECT_LE(facts, 32u);
    return Secrets(text, Asked(question, "\n# The secret number of (\\w+) is"), "The");
  });
  const auto example = (*MakeTask("multikey"))->Make(DemoFiller(), {.tokens = 4096});
  EXPECT_EQ(Lines(DemoText(example->document), "^# The secret number of").size(), 32u) << "as many as fit";
}

TEST(KindsTest, MultiValue) {
  ExpectSolved("multivalue", [](const std::string& text, const std::string& question) {
    EXPECT_EQ(Lines(text, "^# A secret number of").size(), 16u);
    return Secrets(text, Asked(question, "\n# The secret numbers of (\\w+) are"), "A");
  });
}

TEST(KindsTest, KeyValue) {
  constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
  ExpectSolved("keyvalue", [&](const std::string& text, const std::string& question) {
    const std::string key = Asked(question, fmt::format("\n(\"{}\":)", kUuid));
    const auto lines = Lines(text, fmt::format("^(\"{}\":)( \"{}\",)$", kUuid, kUuid));
    EXPECT_GE(static_cast<std::ptrdiff_t>(lines.size()), std::count(text.begin(), text.end(), '\n') - 1)
        << "all lines but perhaps the first, which may have lost its beginning";
    std::string found;
    for (const std::smatch& line : lines) {
      if (line[1] == key) found += line[2];
    }
    return found;
  });
}

TEST(KindsTest, Variables) {
  ExpectSolved("variables", [](const std::string& text, const std::string& question) {
    const std::string value = Asked(question, "\n# Variables that hold (\\d{5}) are");
    std::map<std::string, std::string> holds;
    std::string names;
    const auto lines = Lines(text, "^# VAR (\\w+) = (\\w+)$");
    EXPECT_EQ(lines.size(), 16u);
    for (const std::smatch& line : lines) {
      const auto known = holds.find(line[2]);
      EXPECT_TRUE(known != holds.end() || std::isdigit(static_cast<unsigned char>(line[2].str()[0])) != 0)
          << "assigned before it is used: " << line.str();
      holds[line[1]] = known == holds.end() ? line[2].str() : known->second;
      if (holds[line[1]] == value) names += (names.empty() ? " " : ", ") + line[1].str();
    }
    EXPECT_EQ(holds.size(), 16u) << "no name twice";
    return names + ".";
  });
  const auto example = (*MakeTask("variables"))->Make(DemoFiller(), {.tokens = 1024, .questions = 1});
  EXPECT_EQ(Lines(DemoText(example->document), "^# VAR").size(), 16u) << "also of chains that nobody asks for";
}

TEST(KindsTest, CommonWords) {
  ExpectSolved("commonwords", [](const std::string& text, const std::string& question) {
    EXPECT_EQ(question, "\n# The most common words are");
    std::map<std::string, int> counts;
    for (const std::smatch& line : Lines(text, "^# \\w+( \\w+){7}$")) {
      const std::string words = line.str().substr(2);
      for (size_t at = 0; at < words.size(); at = std::min(words.find(' ', at), words.size()) + 1)
        ++counts[words.substr(at, words.find(' ', at) - at)];
    }
    std::vector<std::pair<int, std::string>> order;
    for (const auto& [word, count] : counts) order.emplace_back(-count, word);
    std::sort(order.begin(), order.end());
    EXPECT_LE(5 * order[1].first, 6 * order[2].first) << "not by a little";
    EXPECT_LE(order[2].first, 2 * order[3].first) << "twice as common as any other";
    return " " + order[0].second + ", " + order[1].second + ", " + order[2].second + ".";
  });
}

TEST(KindsTest, Copy) {
  ExpectSolved("copy", [](const std::string& text, const std::string& question) {
    const std::string word = Asked(question, "\n# The passage of (\\w+):");
    std::string found;
    for (const std::smatch& line : Lines(text, "^# The passage of (\\w+):(( \\w+){8,32}\\.)$")) {
      if (line[1] == word) found += line[2];
    }
    return found;
  });
  const auto example = (*MakeTask("copy"))->Make(DemoFiller(), {.tokens = 4096, .questions = 3});
  for (const Question& question : example->questions) EXPECT_LT(question.depth, 0.26) << "early";
}

}  // namespace
}  // namespace nosa::tasks

#include "tasks/filler.h"

#include <algorithm>
#include <set>

#include "tasks/tasks_test_util.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

std::vector<TokenId> Encode(const std::string& text) { return EncodePiece(*DemoTokenizer(), text); }

std::string Numbered(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += fmt::format("line {} of many\n", i);
  return text;
}

TEST(FillerTest, DrawsFromBehindALineBreakAndAroundTheEnd) {
  const std::vector<TokenId> ids = Encode(Numbered(50));
  const Filler filler = *Filler::Make(DemoTokenizer(), ids);
  EXPECT_EQ(filler.tokens(), static_cast<int64_t>(ids.size()));
  std::set<std::string> begins;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const std::vector<TokenId> all = filler.Draw(static_cast<int>(ids.size()), seed);
    const std::string text = DemoText(all);
    EXPECT_TRUE(text.starts_with("line ")) << text.substr(0, 20);
    begins.insert(text.substr(0, text.find('\n')));
    std::vector<TokenId> a = all, b = ids;
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    EXPECT_EQ(a, b) << "all of it, nothing twice";
    EXPECT_EQ(filler.Draw(7, seed), std::vector(all.begin(), all.begin() + 7));
  }
  EXPECT_GE(begins.size(), 48u) << "every line can be the first";
  EXPECT_TRUE(filler.Draw(0, 1).empty());
}

TEST(FillerTest, LinesThatSpeakLikePlantedOnesArePassedOver) {
  std::string text = Numbered(5);
  for (const char* line :
       {"# The secret number of apple is 12345.\n", "  A secret number.\n", "the secret numbers of apple\n",
        "x # VAR tiger = 1\n", "# The passage of tiger: one two\n"}) {
    text += line + Numbered(3);
  }
  text += "# The secret number of the last line, without a break";
  const std::vector<TokenId> ids = Encode(text);
  const Filler filler = *Filler::Make(DemoTokenizer(), ids);
  EXPECT_LT(filler.tokens(), static_cast<int64_t>(ids.size()));
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const std::string drawn = DemoText(filler.Draw(static_cast<int>(filler.tokens()), seed));
    for (const char* word : {"secret", "VAR", "passage"}) EXPECT_EQ(drawn.find(word), std::string::npos) << drawn;
    EXPECT_EQ(std::count(drawn.begin(), drawn.end(), '\n'), 19)
        << "20, but that one shares a token with the indented line";
  }
}

TEST(FillerTest, WhereLinesEnd) {
  const std::vector<TokenId> ids = Encode("a\n\n    b");
  const Filler filler = *Filler::Make(DemoTokenizer(), ids);
  EXPECT_EQ(DemoText(filler.line_break()), "\n");
  for (const TokenId id : ids) {
    const std::string text = DemoText(std::span(&id, 1));
    EXPECT_EQ(filler.EndsLine(id), text.ends_with("\n")) << text;
    EXPECT_EQ(filler.BeginsWithBreak(id), text.starts_with("\n")) << text;
  }
  EXPECT_TRUE(filler.EndsLine(DemoTokenizer()->IdOf("</s>"))) << "what stands between documents";
}

TEST(FillerTest, RefusesWhatIsNoText) {
  const auto refused = [](const std::vector<TokenId>& ids) {
    const auto filler = Filler::Make(DemoTokenizer(), ids);
    EXPECT_FALSE(filler.ok());
    EXPECT_EQ(filler.status().code(), StatusCode::kInvalidArgument);
    return std::string(filler.status().message());
  };
  EXPECT_EQ(refused({}), "expected text to fill documents with, found none");
  EXPECT_EQ(refused(Encode("# The secret number of apple is 12345.")), refused({}));
  EXPECT_EQ(refused({5, 8192}), "expected token ids below 8192, found 8192");
  EXPECT_EQ(refused({-1}), "expected token ids below 8192, found -1");
}

}  // namespace
}  // namespace nosa::tasks

#include "apps/table.h"

#include <gtest/gtest.h>

#include "apps/progress.h"

namespace nosa::apps {
namespace {

TEST(TableTest, NumbersToTheRightWordsToTheLeft) {
  Table table({"what", "n"});
  table.Row({"a", "5"});
  table.Row({"longer", "1234"});
  EXPECT_EQ(table.ToString(), "what       n\n------  ----\na          5\nlonger  1234\n");
}

TEST(TableTest, WidthsCountCharacters) {
  Table table;
  table.Row({"größe", "x"});
  table.Row({"abcde", "y"});
  EXPECT_EQ(table.ToString(), "größe  x\nabcde  y\n");
}

TEST(TableTest, EmptyCellsLeaveNoBlanksAtLineEnds) {
  Table table({"a", "b"});
  table.Row({"x", ""});
  EXPECT_EQ(table.ToString(), "a  b\n-  -\nx\n");
  EXPECT_EQ(Table().ToString(), "");
  EXPECT_EQ(FormatFacts({{"RAM", "1"}, {"disk", "2"}}), "RAM   1\ndisk  2\n");
}

class FakeClock final : public Clock {
 public:
  double Now() const override { return now; }
  double now = 100;
};

struct Said {
  FakeClock clock;
  std::string text;
  ProgressOptions Options(bool terminal) {
    return {.what = "reading",
            .total = 1000,
            .write = [this](std::string_view t) { text += t; },
            .terminal = terminal,
            .clock = &clock};
  }
};

TEST(ProgressTest, ShortWorkIsSilent) {
  Said said;
  Progress progress(said.Options(false));
  said.clock.now += 1.9;
  progress.Update(900);
  progress.Finish();
  EXPECT_EQ(said.text, "");
}

TEST(ProgressTest, ALineEveryTenth) {
  Said said;
  Progress progress(said.Options(false));
  said.clock.now += 4;
  for (const int done : {100, 150, 199, 200, 450}) progress.Update(done);
  EXPECT_EQ(said.text,
            "reading: 10 % (25 tokens/s, 36 s left)\nreading: 20 % (50 tokens/s, 16 s left)\nreading: 45 % (112 "
            "tokens/s, 5 s left)\n");
}

TEST(ProgressTest, ABarThatGoesAway) {
  Said said;
  Progress progress(said.Options(true));
  said.clock.now += 10;
  progress.Update(500);
  EXPECT_EQ(said.text, "\r\x1b[Kreading [###############...............]  50 % (50 tokens/s, 10 s left)");
  progress.Update(510);  // too soon to be drawn
  said.text.clear();
  progress.Finish();
  EXPECT_EQ(said.text, "\r\x1b[K");
  progress.Update(600);
  progress.Finish();
  EXPECT_EQ(said.text, "\r\x1b[K");
}

TEST(ProgressTest, NothingWhenOff) {
  Said said;
  ProgressOptions options = said.Options(true);
  options.enabled = false;
  Progress progress(std::move(options));
  said.clock.now += 10;
  progress.Update(500);
  EXPECT_EQ(said.text, "");
}

TEST(FormatDurationTest, ShortestThatSaysEnough) {
  EXPECT_EQ(FormatDuration(0.4), "0 s");
  EXPECT_EQ(FormatDuration(59.6), "1 min 0 s");
  EXPECT_EQ(FormatDuration(200), "3 min 20 s");
  EXPECT_EQ(FormatDuration(7500), "2 h 5 min");
}

TEST(FormatCountTest, CommasEveryThreeDigits) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(12345678), "12,345,678");
  EXPECT_EQ(FormatCount(-999), "-999");
  EXPECT_EQ(FormatCount(-1000), "-1,000");
}

}  // namespace
}  // namespace nosa::apps

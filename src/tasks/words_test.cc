#include "tasks/words.h"

#include <gtest/gtest.h>

#include <set>

namespace nosa::tasks {
namespace {

TEST(NounsTest, FortyDifferent) {
  EXPECT_EQ(Nouns().size(), 40u);
  EXPECT_EQ(std::set<std::string_view>(Nouns().begin(), Nouns().end()).size(), 40u);
}

TEST(NounsTest, DrawnDifferentAndBySeed) {
  const auto all = DrawNouns(40, 1);
  EXPECT_EQ(std::set<std::string_view>(all.begin(), all.end()).size(), 40u);
  EXPECT_EQ(DrawNouns(3, 1), std::vector(all.begin(), all.begin() + 3)) << "more of a seed begin as fewer";
  EXPECT_NE(DrawNouns(40, 2), all);
  EXPECT_TRUE(DrawNouns(0, 1).empty());
}

TEST(NumbersTest, DifferentAndOfFiveDigits) {
  // So many that an unchecked draw would repeat itself: 5,000 of 90,000 are expected to collide 139 times.
  const auto numbers = DrawNumbers(5000, 3);
  EXPECT_EQ(std::set<std::string>(numbers.begin(), numbers.end()).size(), 5000u);
  for (const std::string& number : numbers) {
    ASSERT_EQ(number.size(), 5u);
    EXPECT_NE(number[0], '0');
  }
}

TEST(SecretsTest, AreThoseOfTheModelCard) {
  EXPECT_EQ(SecretLine("apple", "12345"), "# The secret number of apple is 12345.");
  EXPECT_EQ(SecretQuestion("apple"), "\n# The secret number of apple is");
}

}  // namespace
}  // namespace nosa::tasks

#include "text/word_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace nosa::text {
namespace {

using Counts = std::map<std::string, int64_t>;

Counts CountsOf(const WordTable& table) {
  Counts counts;
  table.ForEach([&](std::string_view word, int64_t count) { counts[std::string(word)] += count; });
  return counts;
}

TEST(WordTable, CountsEachWord) {
  WordTable table;
  EXPECT_EQ(table.size(), 0u);
  table.Add("a", 1);
  table.Add("", 2);
  table.Add("ab", 3);
  table.Add("a", 4);
  table.Add(std::string_view("a\0", 2), 5);
  EXPECT_EQ(CountsOf(table), (Counts{{"", 2}, {"a", 5}, {"ab", 3}, {std::string("a\0", 2), 5}}));
  EXPECT_EQ(table.text_bytes(), 5u);
  EXPECT_EQ(table.bytes(), WordTable::BytesOf(4, 5));
}

// Over many growths it agrees with a map, and so does the sum of two tables.
TEST(WordTable, ManyWords) {
  WordTable tables[2], sum;
  Counts expected;
  for (int64_t i = 0; i < 60000; ++i) {
    const std::string word = std::to_string(i * i % 20011);
    tables[i % 2].Add(word, i % 3);
    expected[word] += i % 3;
  }
  for (const WordTable& table : tables) sum.Add(table);
  EXPECT_EQ(CountsOf(sum), expected);
}

TEST(WordTable, ThinsOutRareWords) {
  WordTable table, other;
  for (int i = 0; i < 5000; ++i) {  // 0 to 1599 three times, 1600 to 1699 twice
    table.Add(std::to_string(i % 1700), 1);
    other.Add(std::to_string(i % 1700), 1);
  }
  table.ThinOut(1, 1);
  EXPECT_EQ(table.size(), 1700u);
  table.ThinOut(2, 1);
  const Counts counts = CountsOf(table);
  EXPECT_NEAR(static_cast<double>(table.size()), 1650, 15) << "half of 100 words; the standard deviation is 5";
  for (const auto& [word, count] : counts) EXPECT_EQ(count, std::stoi(word) < 1600 ? 3 : 4);
  other.ThinOut(2, 2);
  EXPECT_NE(CountsOf(other), counts) << "another seed, other words";
  table.Clear();
  EXPECT_EQ(table.bytes(), 0u);
  table.Add("7", 1);
  EXPECT_EQ(CountsOf(table), (Counts{{"7", 1}}));
}

}  // namespace
}  // namespace nosa::text

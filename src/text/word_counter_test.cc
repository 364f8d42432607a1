#include "text/word_counter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "base/bytes.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

using Counts = std::map<std::string, int64_t>;

PreTokenizer Cutter(std::string_view regex = "") {
  io::Json config = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", regex.empty()}};
  if (!regex.empty()) {
    const io::Json split = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}};
    config = {{"type", "Sequence"}, {"pretokenizers", io::Json::array({split, config})}};
  }
  auto cutter = PreTokenizer::FromJson(config);
  EXPECT_TRUE(cutter.ok()) << cutter.status().ToString();
  return *std::move(cutter);
}

// The pattern of Llama 3, as its users have it in their files.
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Counts CountsOf(const WordTable& table) {
  Counts counts;
  table.ForEach([&](std::string_view word, int64_t count) { counts[std::string(word)] += count; });
  return counts;
}

std::vector<std::string> WordsOf(const PreTokenizer& cutter, std::string_view text) {
  TextArena arena;
  std::vector<std::string_view> words;
  cutter.Split(text, &arena, &words);
  return {words.begin(), words.end()};
}

std::string RandomText(uint32_t seed, size_t pieces) {
  static const char* kPieces[] = {"a",  "the", "X", "'s", "don't", "12345", ".",  "--",     " ",      "  ",
                                  "\n", "\n",  " ", "\r", "\t",    "é",     "日", "\u3000", "\u00a0", ";\n"};
  std::mt19937 random(seed);
  std::string text;
  for (size_t i = 0; i < pieces; ++i) text += kPieces[random() % std::size(kPieces)];
  return text;
}

// Whether the character of one byte at `place` has neighbours, and none of them is white space.
bool StandsAlone(const std::string& text, size_t place) {
  if (place == 0 || place + 1 == text.size()) return false;
  const size_t before = LastCharacterStart(std::string_view(text).substr(0, place));
  return !IsWhitespace(DecodeUtf8(std::string_view(text).substr(before)).code_point) &&
         !IsWhitespace(DecodeUtf8(std::string_view(text).substr(place + 1)).code_point);
}

TEST(PartBytes, CutsWhereWordsEnd) {
  EXPECT_EQ(PartBytes("short", 8), 5u);
  EXPECT_EQ(PartBytes("a\nb\nc\nd\ne", 8), 8u) << "behind the last line end";
  EXPECT_EQ(PartBytes("ab cd\n ef gh", 8), 2u) << "a line end beside a blank does not count";
  EXPECT_EQ(PartBytes("abc def ghi", 8), 7u) << "before a blank";
  EXPECT_EQ(PartBytes("\nbcdefghij", 8), 8u) << "not at the beginning";
  EXPECT_EQ(PartBytes("ééééé", 9), 8u) << "not in a character";
  EXPECT_EQ(PartBytes("a   \n\n   bcd", 8), 8u);
}

TEST(PartBytes, WordsOfPartsAreThoseOfTheWhole) {
  const PreTokenizer gpt2 = Cutter(), llama3 = Cutter(kLlama3);
  int cuts = 0;
  for (uint32_t seed = 0; seed < 4000; ++seed) {
    const std::string text = RandomText(seed, 30);
    const size_t bytes = PartBytes(text, 24);
    if (bytes == text.size()) continue;
    ASSERT_TRUE(IsWellFormedUtf8(text.substr(0, bytes)));
    // Else no safe place was found.
    if (!(text[bytes - 1] == '\n' && StandsAlone(text, bytes - 1)) && !(text[bytes] == ' ' && StandsAlone(text, bytes)))
      continue;
    ++cuts;
    for (const PreTokenizer* cutter : {&gpt2, &llama3}) {
      std::vector<std::string> words = WordsOf(*cutter, text.substr(0, bytes));
      for (std::string& word : WordsOf(*cutter, text.substr(bytes))) words.push_back(std::move(word));
      ASSERT_EQ(words, WordsOf(*cutter, text)) << testing::PrintToString(text) << " at " << bytes;
    }
  }
  EXPECT_GT(cuts, 1000);
}

TEST(WordCounter, CountsWordsOfEachText) {
  WordCounter counter(Cutter(), kMiB, 1);
  counter.Add("a b a");
  counter.Add("");
  counter.Add("b a");
  EXPECT_EQ(counter.stats().bytes, 8);
  const WordTable table = counter.Finish();
  EXPECT_EQ(CountsOf(table), (Counts{{"a", 1}, {" b", 1}, {" a", 2}, {"b", 1}}));
  EXPECT_EQ(counter.stats().texts, 3);
  EXPECT_EQ(counter.stats().words, 5);
  EXPECT_EQ(counter.stats().thinned_out, 0);
  EXPECT_EQ(counter.Finish().size(), 0u);
}

// Several parts and rounds on any number of threads: the same counts as by hand.
TEST(WordCounter, ThreadsAndRoundsDoNotCount) {
  std::vector<std::string> texts;
  Counts expected;
  const PreTokenizer cutter = Cutter();
  for (uint32_t seed = 0; seed < 40; ++seed) {
    // One text is longer than a part; its lines make the cuts safe.
    std::string text;
    for (uint32_t line = 0; line < (seed == 7 ? 20000 : 50); ++line)
      text += "line " + std::to_string(line * seed) + " of it,\n";
    for (const std::string& word : WordsOf(cutter, text)) ++expected[word];
    texts.push_back(std::move(text));
  }
  for (const int threads : {1, 2, 5}) {
    for (const size_t round : {size_t{1}, size_t{10000}, WordCounter::kRoundBytes}) {
      WordCounter counter(Cutter(), 64 * kMiB, threads, round);
      for (const std::string& text : texts) counter.Add(text);
      EXPECT_EQ(CountsOf(counter.Finish()), expected) << threads << " threads, rounds of " << round;
    }
  }
}

TEST(WordCounter, LongWordsAreCut) {
  std::string word;
  while (word.size() < 2 * WordCounter::kMaxWordBytes) word += "日";
  WordCounter counter(Cutter(), kMiB, 1);
  counter.Add(word);
  std::string joined;
  counter.Finish().ForEach([&](std::string_view piece, int64_t count) {
    EXPECT_LE(piece.size(), WordCounter::kMaxWordBytes);
    EXPECT_TRUE(IsWellFormedUtf8(piece));
    for (int64_t i = 0; i < count; ++i) joined += piece;
  });
  EXPECT_EQ(joined.size(), word.size());
}

// Half of the rare words go, the frequent one is counted right, and the sum of all stays about what it is; which words,
// does not depend on threads.
TEST(WordCounter, HoldsItsBound) {
  constexpr uint64_t kBound = 40000;  // some 900 words
  Counts first;
  for (const int threads : {1, 2, 5}) {
    WordCounter counter(Cutter(), kBound, threads, 5000);
    for (int text = 0; text < 200; ++text) {
      std::string words = "often and often";
      for (int i = 0; i < 50; ++i) {
        words += " x";
        for (int n = 50 * text + i; n > 0; n /= 26) words.push_back(static_cast<char>('a' + n % 26));
      }
      counter.Add(words);
      counter.CountPending();
    }
    const int64_t all = counter.stats().words;
    const WordTable table = counter.Finish();
    EXPECT_LE(table.bytes(), kBound);
    const Counts counts = CountsOf(table);
    EXPECT_EQ(counts.at(" often"), 200);
    int64_t kept = 0;
    for (const auto& [word, count] : counts) kept += count;
    // The last of the rare words count for 16 that were seen, so the sum's standard deviation is some 400.
    EXPECT_NEAR(static_cast<double>(kept), static_cast<double>(all), 2000);
    EXPECT_GT(counter.stats().thinned_out, 3);
    if (first.empty()) first = counts;
    EXPECT_EQ(counts, first) << threads;
  }
}

}  // namespace
}  // namespace nosa::text

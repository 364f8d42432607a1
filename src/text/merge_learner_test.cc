#include "text/merge_learner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "text/byte_level.h"

namespace nosa::text {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Words = std::map<std::string, int64_t>;

WordTable TableOf(const Words& words) {
  WordTable table;
  for (const auto& [word, count] : words) table.Add(word, count);
  return table;
}

LearnedTokens Learn(const Words& words, const LearnOptions& options, const std::vector<std::string>& specials = {}) {
  auto learned = MergeLearner(TableOf(words), specials, options).Learn([](size_t) { return true; });
  EXPECT_TRUE(learned.ok()) << learned.status().ToString();
  return *std::move(learned);
}

// "l o" for each merge, as tokenizer.json writes it.
std::vector<std::string> MergesOf(const LearnedTokens& learned) {
  std::vector<std::string> out;
  for (const LearnedMerge& merge : learned.merges)
    out.push_back(learned.names[static_cast<size_t>(merge.left)] + " " +
                  learned.names[static_cast<size_t>(merge.right)]);
  return out;
}

// The example of Sennrich et al.: es 9 (e before s and s before t are seen 9 times; the lower id, e, is first), est 9,
// lo 7, low 7; then ne, ew and w+est are seen 6 times, and e has the lowest id.
TEST(MergeLearner, ByHand) {
  const LearnedTokens learned =
      Learn({{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}}, {.vocab_size = 256 + 7});
  EXPECT_THAT(MergesOf(learned), ElementsAre("e s", "es t", "l o", "lo w", "e w", "n ew", "new est"));
  EXPECT_EQ(learned.names.size(), 263u);
  EXPECT_EQ(learned.names.back(), "newest");
  EXPECT_EQ(learned.merges[1].merged, 257);
}

TEST(MergeLearner, AlphabetIsInTheOrderOfItsCharacters) {
  const LearnedTokens learned = Learn({}, {.vocab_size = 300}, {"<s>", "</s>"});
  EXPECT_EQ(learned.names.size(), 258u);
  EXPECT_EQ(learned.names[0], "<s>");
  EXPECT_EQ(learned.names[2], "!");
  EXPECT_EQ(learned.names[2 + 94], "\u00A1");
  EXPECT_EQ(learned.names[2 + 188], "\u0100");  // byte 0
  EXPECT_EQ(learned.names[257], ToByteLevel("\xAD"));
  EXPECT_THAT(learned.merges, IsEmpty());
}

// All pairs are seen twice. "a x" is first by its left id; then of "c a", "c b" the lower right id; a new token's id is
// higher than all before.
TEST(MergeLearner, TiesGoByIds) {
  EXPECT_THAT(MergesOf(Learn({{"cb", 2}, {"ca", 2}, {"ax", 2}}, {.vocab_size = 260})),
              ElementsAre("a x", "c a", "c b"));
  EXPECT_THAT(MergesOf(Learn({{"abz", 2}, {"yz", 2}}, {.vocab_size = 260})), ElementsAre("a b", "y z", "ab z"));
}

TEST(MergeLearner, StopsAtRarePairs) {
  const Words words = {{"ab", 3}, {"cd", 2}, {"ef", 1}};
  EXPECT_THAT(MergesOf(Learn(words, {.vocab_size = 300, .min_frequency = 3})), ElementsAre("a b"));
  EXPECT_THAT(MergesOf(Learn(words, {.vocab_size = 300, .min_frequency = 2})), ElementsAre("a b", "c d"));
  for (const int64_t all : {0, 1})
    EXPECT_THAT(MergesOf(Learn(words, {.vocab_size = 300, .min_frequency = all})), ElementsAre("a b", "c d", "e f"));
}

// Runs: "aaaa" holds aa three times, but only two of them can be merged.
TEST(MergeLearner, RunsMergeFromTheLeft) {
  EXPECT_THAT(MergesOf(Learn({{"aaaaa", 2}}, {.vocab_size = 300})), ElementsAre("a a", "aa a", "aa aaa"));
}

TEST(MergeLearner, NoTokenIsTooLong) {
  const Words words = {{"abcdefgh", 9}, {"abcxyz", 4}};
  for (const size_t max : {1, 2, 3, 5}) {
    const LearnedTokens learned = Learn(words, {.vocab_size = 400, .max_token_bytes = max});
    size_t longest = 0;
    for (const std::string& name : learned.names) longest = std::max(longest, FromByteLevel(name)->size());
    EXPECT_EQ(longest, max);
  }
}

// "<s>" is in the text, and would be the second token to be merged.
TEST(MergeLearner, NeverMakesASpecialToken) {
  const LearnedTokens learned = Learn({{"<s>", 50}, {"<s>x", 20}}, {.vocab_size = 300}, {"<s>", "</s>"});
  EXPECT_THAT(MergesOf(learned), ElementsAre("< s", "> x", "<s >x"));
}

TEST(MergeLearner, CanBeStopped) {
  MergeLearner learner(TableOf({{"abc", 2}}), {}, {.vocab_size = 300});
  EXPECT_EQ(learner.Learn([](size_t tokens) { return tokens < 257; }).status().code(), StatusCode::kCancelled);
}

// The same by counting all pairs anew for each merge.
std::vector<LearnedMerge> LearnSlowly(const Words& words, LearnedTokens tokens, const LearnOptions& options) {
  std::map<std::string, TokenId> ids;
  for (size_t id = 0; id < tokens.names.size(); ++id) ids[tokens.names[id]] = static_cast<TokenId>(id);
  std::vector<std::pair<std::vector<TokenId>, int64_t>> split;
  for (const auto& [word, count] : words) {
    auto& symbols = split.emplace_back(std::vector<TokenId>(), count).first;
    for (const char byte : word) symbols.push_back(ids.at(ToByteLevel({&byte, 1})));
  }
  const auto name = [&](TokenId id) { return tokens.names[static_cast<size_t>(id)]; };
  while (tokens.names.size() < options.vocab_size) {
    std::map<std::pair<TokenId, TokenId>, int64_t> counts;
    for (const auto& [symbols, count] : split)
      for (size_t i = 0; i + 1 < symbols.size(); ++i) counts[{symbols[i], symbols[i + 1]}] += count;
    LearnedMerge best;
    int64_t most = std::max<int64_t>(options.min_frequency, 1) - 1;
    for (const auto& [pair, count] : counts) {
      const size_t bytes = FromByteLevel(name(pair.first) + name(pair.second))->size();
      if (count > most && (options.max_token_bytes == 0 || bytes <= options.max_token_bytes)) {
        most = count;
        best = {pair.first, pair.second, static_cast<TokenId>(tokens.names.size())};
      }
    }
    if (best.merged < 0) break;
    tokens.names.push_back(name(best.left) + name(best.right));
    tokens.merges.push_back(best);
    for (auto& [symbols, count] : split) {
      std::vector<TokenId> merged;
      for (size_t i = 0; i < symbols.size(); ++i) {
        const bool here = i + 1 < symbols.size() && symbols[i] == best.left && symbols[i + 1] == best.right;
        merged.push_back(here ? best.merged : symbols[i]);
        i += here ? 1 : 0;
      }
      symbols = merged;
    }
  }
  return tokens.merges;
}

TEST(MergeLearner, EqualsCountingAnew) {
  std::mt19937 random(1);
  const std::string alphabets[] = {"a", "ab", "abcde", std::string("a\0\xFF ", 4)};
  for (int run = 0; run < 200; ++run) {
    const std::string& alphabet = alphabets[random() % std::size(alphabets)];
    Words words;
    for (size_t i = 0; i < 1 + random() % 60; ++i) {
      std::string word;
      for (size_t size = random() % 20; word.size() < size;) word += alphabet[random() % alphabet.size()];
      words[word] += 1 + static_cast<int64_t>(random() % 4);
    }
    const LearnOptions options = {.vocab_size = 257 + random() % 80,
                                  .min_frequency = static_cast<int64_t>(random() % 4),
                                  .max_token_bytes = random() % 3 == 0 ? 1 + random() % 6 : 0};
    const LearnedTokens nothing = Learn({}, {.vocab_size = 257}, {"<s>"});
    ASSERT_EQ(Learn(words, options, {"<s>"}).merges, LearnSlowly(words, nothing, options)) << "run " << run;
  }
}

}  // namespace
}  // namespace nosa::text

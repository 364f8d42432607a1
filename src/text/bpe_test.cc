#include "text/bpe.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/rng.h"
#include "text/byte_level.h"
#include "text/word_cache.h"

namespace nosa::text {
namespace {

// 256 bytes, and random merges of the first letters into tokens of at most five: so few that many merges overlap.
struct Model {
  std::shared_ptr<Vocabulary> vocabulary = std::make_shared<Vocabulary>();
  std::vector<std::array<TokenId, 3>> merges;

  Model(size_t count, int letters) {
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      Add(ToByteLevel({&byte, 1}));
    }
    std::vector<TokenId> tokens;
    for (int i = 0; i < letters; ++i) tokens.push_back('a' + i);
    std::set<std::pair<TokenId, TokenId>> pairs;
    const Philox rng(1);
    for (uint64_t i = 0; merges.size() < count; ++i) {
      const auto random = rng.Block(i);
      const TokenId left = tokens[random[0] % tokens.size()];
      const TokenId right = tokens[random[1] % tokens.size()];
      const std::string name = vocabulary->Find(left)->name + vocabulary->Find(right)->name;
      if (name.size() > 5 || !pairs.emplace(left, right).second) continue;
      const TokenId known = vocabulary->IdOf(name);
      merges.push_back({left, right, known >= 0 ? known : Add(name)});
      if (known < 0) tokens.push_back(merges.back()[2]);
    }
  }

  TokenId Add(const std::string& name) {
    const TokenId id = vocabulary->size();
    EXPECT_TRUE(vocabulary->Add(id, {.name = name, .bytes = "", .special = false, .in_model = true}).ok());
    return id;
  }

  MergeTable Table() const {
    MergeTable table(merges.size());
    for (const auto& [left, right, merged] : merges) table.Add(left, right, merged);
    return table;
  }

  // The definition: the merge of lowest rank that applies, at the leftmost place, again and again.
  std::vector<TokenId> Plain(std::string_view word) const {
    std::vector<TokenId> ids;
    for (const char c : word) ids.push_back(static_cast<uint8_t>(c));
    for (size_t m = 0; m < merges.size();) {
      const auto& [left, right, merged] = merges[m++];
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        if (ids[i] != left || ids[i + 1] != right) continue;
        ids[i] = merged;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        m = 0;
        break;
      }
    }
    return ids;
  }
};

// Lengths on both sides of the one where the queue takes over. Few letters: many merges overlap, and entries of
// the queue go stale.
TEST(Bpe, EqualsTheDefinitionAtEveryLength) {
  const Philox rng(2);
  for (const int letters : {1, 2, 3}) {
    const Model model(letters == 1 ? 10 : 100, letters);
    const Bpe bpe(model.vocabulary, model.Table(), {});
    Bpe::Scratch scratch;
    for (uint64_t length = 0; length < 130; ++length) {
      for (uint64_t k = 0; k < 4; ++k) {
        std::string word;
        for (uint64_t i = 0; i < length; ++i) {
          const uint32_t random = rng.Block(length * 1000 + k * 200 + i)[0];
          word.push_back(static_cast<char>('a' + random % static_cast<uint32_t>(letters)));
        }
        std::vector<TokenId> ids;
        bpe.Encode(word, true, &scratch, &ids);
        ASSERT_EQ(ids, model.Plain(word)) << word;
      }
    }
  }
}

TEST(MergeTable, LaterPairReplacesEarlier) {
  MergeTable table(3);
  table.Add(1, 2, 10);
  table.Add(3, 4, 11);
  table.Add(1, 2, 12);
  EXPECT_EQ(table.RankOf(1, 2), 2u);
  EXPECT_EQ(table.MergedAt(2), 12);
  EXPECT_EQ(table.RankOf(3, 4), 1u);
  EXPECT_EQ(table.RankOf(2, 1), MergeTable::kNoRank);
  EXPECT_EQ(MergeTable().RankOf(0, 0), MergeTable::kNoRank);
}

TEST(WordCache, ReturnsWhatWasNotedAndNothingElse) {
  const std::string text = "one two one three";
  const std::string_view view = text;
  WordCache cache(4096);
  std::vector<TokenId> out = {1, 2};
  EXPECT_FALSE(cache.Append(view.substr(0, 3), &out));
  cache.Note(view.substr(0, 3), 0, out);
  EXPECT_FALSE(cache.Append(view.substr(4, 3), &out));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(cache.Append(view.substr(8, 3), &out));
  ASSERT_EQ(out.size(), 22u);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i % 2 == 0 ? 1 : 2);
  WordCache none(10);
  none.Note(view.substr(0, 3), 0, out);
  EXPECT_FALSE(none.Append(view.substr(0, 3), &out));
}

}  // namespace
}  // namespace nosa::text

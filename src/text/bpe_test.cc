#include "text/bpe.h"

#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"
#include "text/byte_level.h"
#include "text/word_cache.h"

namespace nosa::text {
namespace {

// 256 bytes and random merges of them: ids are bytes, then merges in rank order.
struct Model {
  std::shared_ptr<Vocabulary> vocabulary = std::make_shared<Vocabulary>();
  std::vector<std::array<TokenId, 3>> merges;

  explicit Model(int count, int alphabet) {
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      Add(ToByteLevel({&byte, 1}));
    }
    const Philox rng(1);
    for (uint64_t i = 0; merges.size() < static_cast<size_t>(count); ++i) {
      const auto random = rng.Block(i);
      const auto pick = [&](uint32_t r) {
        const uint32_t n = static_cast<uint32_t>(alphabet) + static_cast<uint32_t>(merges.size());
        const uint32_t k = r % n;
        return static_cast<TokenId>(k < static_cast<uint32_t>(alphabet) ? 'a' + k : 256 + k - alphabet);
      };
      const TokenId left = pick(random[0]);
      const TokenId right = pick(random[1]);
      const std::string name = vocabulary->Find(left)->name + vocabulary->Find(right)->name;
      if (name.size() > 12 || vocabulary->IdOf(name) >= 0) continue;
      merges.push_back({left, right, Add(name)});
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

TEST(Bpe, EqualsTheDefinitionAtEveryLength) {
  const Model model(60, 3);
  const Bpe bpe(model.vocabulary, model.Table(), {});
  Bpe::Scratch scratch;
  const Philox rng(2);
  for (size_t length = 0; length < 130; ++length) {
    for (uint64_t k = 0; k < 4; ++k) {
      std::string word;
      for (size_t i = 0; i < length; ++i) word.push_back(static_cast<char>('a' + rng.Block(length * 1000 + k * 200 + i)[0] % 3));
      std::vector<TokenId> ids;
      bpe.Encode(word, true, &scratch, &ids);
      ASSERT_EQ(ids, model.Plain(word)) << word;
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

#include "kv/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"

namespace nosa::kv {
namespace {

constexpr int kChunk = 3;
using Tokens = std::vector<TokenId>;

// How many chunks of `tokens` are there.
int Depth(const PrefixIndex& index, std::string_view scope, const Tokens& tokens) {
  PrefixId at;
  int depth = 0;
  for (size_t begin = 0; begin + kChunk <= tokens.size(); begin += kChunk, ++depth) {
    at = index.Find(scope, at, std::span(tokens).subspan(begin, kChunk));
    if (!at.valid()) break;
  }
  return depth;
}

// Adds all chunks of `tokens` that are missing; the last.
PrefixId Add(PrefixIndex& index, std::string_view scope, const Tokens& tokens) {
  PrefixId at;
  for (size_t begin = 0; begin + kChunk <= tokens.size(); begin += kChunk) {
    const std::span<const TokenId> chunk = std::span(tokens).subspan(begin, kChunk);
    const PrefixId there = index.Find(scope, at, chunk);
    at = there.valid() ? there : index.Insert(scope, at, chunk);
    if (!at.valid()) break;
  }
  return at;
}

TEST(PrefixIndex, FindsTheLongestPrefixOfWholeChunks) {
  PrefixIndex index(kChunk, 7);
  Add(index, "", {1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(index.size(), 3u);
  EXPECT_EQ(Depth(index, "", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}), 3);
  EXPECT_EQ(Depth(index, "", {1, 2, 3, 4, 5, 6, 7, 8}), 2);
  EXPECT_EQ(Depth(index, "", {1, 2, 3, 4, 5, 0, 7, 8, 9}), 1);
  EXPECT_EQ(Depth(index, "", {4, 5, 6}), 0) << "the same tokens at another place";
  EXPECT_FALSE(index.Find("", PrefixId(), Tokens{1, 2}).valid());
}

TEST(PrefixIndex, ScopesNeverMeet) {
  PrefixIndex index(kChunk, 7);
  const Tokens tokens = {1, 2, 3, 4, 5, 6};
  Add(index, "alice", tokens);
  EXPECT_EQ(Depth(index, "alice", tokens), 2);
  for (const char* other : {"", "alic", "alice2", "bob"}) EXPECT_EQ(Depth(index, other, tokens), 0) << other;
  Add(index, "bob", tokens);
  EXPECT_EQ(index.size(), 4u);
}

TEST(PrefixIndex, OneWithTheHashOfAnotherIsNotTakenForIt) {
  PrefixIndex index(kChunk, 7, [](ConstBytes, const Digest128&) { return Digest128{5, 6}; });
  EXPECT_TRUE(index.Insert("a", PrefixId(), Tokens{1, 2, 3}).valid());
  EXPECT_FALSE(index.Find("a", PrefixId(), Tokens{1, 2, 4}).valid()) << "other tokens";
  EXPECT_FALSE(index.Find("b", PrefixId(), Tokens{1, 2, 3}).valid()) << "another scope";
  EXPECT_FALSE(index.Find("a", PrefixId(0), Tokens{1, 2, 3}).valid()) << "after another chunk";
  EXPECT_FALSE(index.Insert("a", PrefixId(), Tokens{1, 2, 4}).valid());
  EXPECT_FALSE(index.Insert("a", PrefixId(0), Tokens{1, 2, 3}).valid());
  EXPECT_EQ(index.size(), 1u);
  EXPECT_EQ(index.Find("a", PrefixId(), Tokens{1, 2, 3}), PrefixId(0));
}

// All that is hashed, and in which order, counts: none of these has another's digest.
TEST(PrefixIndex, HashesBindingScopeAndEverythingBefore) {
  static std::vector<Digest128> digests;
  digests.clear();
  const auto note = [](ConstBytes data, const Digest128& before) {
    digests.push_back(Hash128(data, before));
    return digests.back();
  };
  for (const uint64_t binding : {1u, 2u}) {
    for (const char* scope : {"", "a"}) {
      PrefixIndex index(kChunk, binding, note);
      const PrefixId first = index.Insert(scope, PrefixId(), Tokens{1, 2, 3});
      index.Insert(scope, first, Tokens{1, 2, 3});
      index.Insert(scope, index.Insert(scope, PrefixId(), Tokens{3, 2, 1}), Tokens{1, 2, 3});
    }
  }
  std::map<std::pair<uint64_t, uint64_t>, int> seen;
  for (const Digest128& digest : digests) ++seen[{digest.low, digest.high}];
  // Of the six digests of a binding and scope, the scope's own was made twice.
  EXPECT_EQ(digests.size(), 4u * 6);
  EXPECT_EQ(seen.size(), 4u * 5);
}

TEST(PrefixIndex, TheOldestLeafGoesFirst) {
  PrefixIndex index(kChunk, 7);
  const Tokens a = {1, 2, 3, 4, 5, 6}, b = {1, 2, 3, 7, 8, 9}, c = {9, 9, 9};
  const PrefixId last_a = Add(index, "", a), last_b = Add(index, "", b), only_c = Add(index, "", c);
  EXPECT_EQ(index.OldestLeaf(), last_a);
  index.Touch(last_a);
  EXPECT_EQ(index.OldestLeaf(), last_b);
  index.Remove(last_b);
  EXPECT_EQ(index.OldestLeaf(), only_c);
  index.Remove(only_c);
  EXPECT_EQ(index.OldestLeaf(), last_a);
  index.Remove(last_a);
  // What they came after is a leaf now.
  EXPECT_EQ(Depth(index, "", a), 1);
  index.Remove(index.OldestLeaf());
  EXPECT_EQ(index.size(), 0u);
  EXPECT_FALSE(index.OldestLeaf().valid());
}

TEST(PrefixIndexDeathTest, WhatSomethingComesAfterStays) {
  PrefixIndex index(kChunk, 7);
  Add(index, "", {1, 2, 3, 4, 5, 6});
  EXPECT_DEATH(index.Remove(PrefixId(0)), "removed before what comes after it");
}

// Random lives against a map from chains to when they were used.
TEST(PrefixIndex, IsAMapFromChains) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Philox rng(seed, 3);
    uint64_t counter = 0;
    const auto draw = [&](uint32_t n) { return rng.Block(counter++)[0] % n; };
    PrefixIndex index(kChunk, seed);
    std::map<std::pair<std::string, Tokens>, uint64_t> model;
    uint64_t clock = 0;
    const auto is_leaf = [&](const std::pair<std::string, Tokens>& key) {
      return std::none_of(model.begin(), model.end(), [&](const auto& other) {
        return other.first.first == key.first && other.first.second.size() > key.second.size() &&
               std::equal(key.second.begin(), key.second.end(), other.first.second.begin());
      });
    };
    for (int step = 0; step < 300; ++step) {
      if (draw(4) == 0) {
        auto oldest = model.end();
        for (auto it = model.begin(); it != model.end(); ++it) {
          if (is_leaf(it->first) && (oldest == model.end() || it->second < oldest->second)) oldest = it;
        }
        ASSERT_EQ(index.OldestLeaf().valid(), oldest != model.end());
        if (oldest == model.end()) continue;
        index.Remove(index.OldestLeaf());
        model.erase(oldest);
      } else {
        const std::string scope = draw(2) == 0 ? "" : "other";
        Tokens tokens(kChunk * (1 + draw(4)));
        for (TokenId& token : tokens) token = static_cast<TokenId>(draw(2));
        PrefixId at;
        for (size_t n = kChunk; n <= tokens.size(); n += kChunk) {
          const std::span<const TokenId> chunk = std::span(tokens).subspan(n - kChunk, kChunk);
          const std::pair<std::string, Tokens> key = {
              scope, Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(n))};
          const PrefixId there = index.Find(scope, at, chunk);
          ASSERT_EQ(there.valid(), model.contains(key));
          if (there.valid()) index.Touch(there);
          at = there.valid() ? there : index.Insert(scope, at, chunk);
          ASSERT_TRUE(at.valid());
          model[key] = ++clock;
        }
      }
      ASSERT_EQ(index.size(), model.size());
    }
  }
}

}  // namespace
}  // namespace nosa::kv

#include "tasks/corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "tasks/shuffle.h"

namespace nosa::tasks {
namespace {

namespace fs = std::filesystem;

class CorpusTest : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const std::string& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << text;
  }
  std::vector<std::string> Names(const Corpus& corpus) {
    std::vector<std::string> names;
    for (const Document& d : corpus.documents) names.push_back(fs::relative(d.path, root_).string());
    return names;
  }

  const fs::path root_ = fs::path(testing::TempDir()) / "corpus";
};

using Strings = std::vector<std::string>;

TEST_F(CorpusTest, SortedFilteredWithoutBinaryHiddenAndHuge) {
  Write("b/z.md", "z");
  Write("b/a.cc", "a");
  Write("a.h", "h");
  Write("image.png", "p");
  Write("binary.txt", std::string("a\0b", 3));
  Write("empty.txt", "");
  Write("huge.txt", std::string(101, 'x'));
  Write("edge.txt", std::string(100, 'x'));
  Write(".git/config.txt", "hidden");
  Write("b/.hidden.md", "hidden");
  fs::create_symlink(root_ / "a.h", root_ / "link.h");
  fs::create_directory_symlink(root_, root_ / "b" / "loop");
  const auto corpus = ReadCorpus({root_}, {.max_file_bytes = 100});
  ASSERT_TRUE(corpus.ok()) << corpus.status().ToString();
  EXPECT_EQ(Names(*corpus), (Strings{"a.h", "b/a.cc", "b/z.md", "edge.txt"}));
  EXPECT_EQ(corpus->skipped, 3);
  EXPECT_EQ(corpus->bytes(), 103u);
}

TEST_F(CorpusTest, SourcesInTheOrderGivenEachFileOnce) {
  Write("b/z.md", "z");
  Write("a/a.cc", "a");
  Write("notes", "any extension, as it was named");
  const auto corpus = ReadCorpus({root_ / "notes", root_ / "b", root_, root_ / "b" / "z.md"});
  ASSERT_TRUE(corpus.ok()) << corpus.status().ToString();
  EXPECT_EQ(Names(*corpus), (Strings{"notes", "b/z.md", "a/a.cc"}));
}

TEST_F(CorpusTest, SaysWhatIsWrong) {
  Write("binary", std::string("\0", 1));
  Write("folder/image.png", "p");
  EXPECT_EQ(ReadCorpus({root_ / "none"}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadCorpus({root_ / "binary"}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadCorpus({root_ / "folder"}).status().message(),
            "expected text, found none in 1 places (0 files left out)");
  EXPECT_FALSE(ReadCorpus({}).ok());
}

TEST_F(CorpusTest, JoinsInAnOrderBySeed) {
  Corpus corpus;
  for (char c = 'a'; c <= 'h'; ++c) corpus.documents.push_back({std::string(1, c), std::string(10, c) + "\n"});
  const std::string all = JoinDocuments(corpus, 1000, 1);
  EXPECT_EQ(all.size(), 8 * 11 + 7u);
  EXPECT_EQ(all, JoinDocuments(corpus, 1000, 1));
  EXPECT_NE(all, JoinDocuments(corpus, 1000, 2));
  for (const Document& d : corpus.documents) EXPECT_NE(all.find(d.text), std::string::npos);
  EXPECT_EQ(JoinDocuments(corpus, 20, 1), all.substr(0, 23)) << "whole documents, until there is enough";
}

TEST(ShuffleTest, OrdersAreUniform) {
  // Each of 24 orders of 4 comes up 1 time in 24; with 6000 seeds the standard deviation is 15.5.
  std::vector<std::vector<size_t>> seen;
  for (uint64_t seed = 0; seed < 6000; ++seed) seen.push_back(ShuffledIndices(4, seed, kWordStream));
  std::sort(seen.begin(), seen.end());
  int orders = 0;
  for (size_t i = 0; i < seen.size(); ++orders) {
    const auto end = std::upper_bound(seen.begin(), seen.end(), seen[i]) - seen.begin();
    EXPECT_NEAR(static_cast<double>(end) - static_cast<double>(i), 250, 70);
    i = static_cast<size_t>(end);
  }
  EXPECT_EQ(orders, 24);
  EXPECT_NE(ShuffledIndices(40, 1, kWordStream), ShuffledIndices(40, 1, kDocumentStream));
  EXPECT_TRUE(ShuffledIndices(0, 1, kWordStream).empty());
}

TEST(ShuffleTest, UniformBelowStaysBelow) {
  std::set<uint32_t> seen;
  for (uint64_t i = 0; i < 200; ++i) seen.insert(UniformBelow(7, 3, kNumberStream, i));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
  EXPECT_EQ(UniformBelow(1, 3, kNumberStream, 0), 0u);
}

}  // namespace
}  // namespace nosa::tasks

// Text to measure on: the files of folders, always in the same order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"

namespace nosa::tasks {

struct CorpusOptions {
  // Of files found in folders; what is named itself is always read.
  std::vector<std::string> extensions = {".c", ".cc", ".cpp", ".h", ".hpp", ".md", ".py", ".rst", ".txt"};
  uint64_t max_file_bytes = 1 << 20;  // more is data rather than text that somebody wrote
};

struct Document {
  std::string path;  // as reached from the source it was found in
  std::string text;
};

struct Corpus {
  std::vector<Document> documents;  // by source in the order given, then by path
  int skipped = 0;                  // files of a wanted extension that are binary, too large or empty

  uint64_t bytes() const;
};

// Reads every source: a file, or a folder with all below it, hidden files and folders and symbolic links left out. A
// file reached twice is read once. Fails naming the path: no such file, a file that cannot be read, a named file that
// is not text, no text at all.
Result<Corpus> ReadCorpus(const std::vector<std::filesystem::path>& sources, const CorpusOptions& options = {});

// More than any text needs per token, so that a corpus which has enough of them is never cut too short.
inline constexpr uint64_t kBytesPerToken = 16;

// Documents one after the other, a blank line between them, in an order drawn by `seed`, until there are `bytes` (or
// no more documents). The same corpus and seed give the same text.
std::string JoinDocuments(const Corpus& corpus, uint64_t bytes, uint64_t seed);

}  // namespace nosa::tasks

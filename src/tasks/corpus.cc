#include "tasks/corpus.h"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "base/bytes.h"
#include "tasks/shuffle.h"

namespace nosa::tasks {
namespace {

namespace fs = std::filesystem;

bool Hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

// A zero byte is in nearly every binary format and in no text.
bool LooksBinary(const std::string& text) { return text.find('\0') != std::string::npos; }

Result<std::string> ReadWhole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return IoError("cannot read {}", path.string());
  return text;
}

// Files below `folder`, sorted: directory order is the file system's whim.
Result<std::vector<fs::path>> FilesBelow(const fs::path& folder, const std::vector<std::string>& extensions) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const fs::file_status status = it->symlink_status(error);
    if (error) break;
    if (Hidden(it->path()) || fs::is_symlink(status)) {
      it.disable_recursion_pending();
    } else if (fs::is_regular_file(status) &&
               std::find(extensions.begin(), extensions.end(), it->path().extension().string()) != extensions.end()) {
      files.push_back(it->path());
    }
  }
  if (error) return IoError("cannot list {}: {}", folder.string(), error.message());
  std::sort(files.begin(), files.end());
  return files;
}

// A file that was named: what is wrong with it is an error.
Status ReadNamed(const fs::path& path, Corpus* corpus) {
  NOSA_ASSIGN_OR_RETURN(std::string text, ReadWhole(path));
  if (LooksBinary(text)) return InvalidArgument("expected text, found bytes of value 0 in {}", path.string());
  if (!text.empty()) corpus->documents.push_back({path.string(), std::move(text)});
  return Status::Ok();
}

// A file that was found: what is wrong with it is left out.
Status ReadFound(const fs::path& path, const CorpusOptions& options, Corpus* corpus) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) return IoError("cannot read {}: {}", path.string(), error.message());
  if (size == 0 || size > options.max_file_bytes) {
    ++corpus->skipped;
    return Status::Ok();
  }
  NOSA_ASSIGN_OR_RETURN(std::string text, ReadWhole(path));
  if (LooksBinary(text)) {
    ++corpus->skipped;
  } else {
    corpus->documents.push_back({path.string(), std::move(text)});
  }
  return Status::Ok();
}

}  // namespace

uint64_t Corpus::bytes() const {
  return std::accumulate(documents.begin(), documents.end(), uint64_t{0},
                         [](uint64_t n, const Document& d) { return n + d.text.size(); });
}

Result<Corpus> ReadCorpus(const std::vector<fs::path>& sources, const CorpusOptions& options) {
  Corpus corpus;
  std::set<fs::path> seen;
  const auto is_new = [&seen](const fs::path& path) {
    std::error_code error;
    return seen.insert(fs::weakly_canonical(path, error)).second;
  };
  for (const fs::path& source : sources) {
    std::error_code error;
    const fs::file_status status = fs::status(source, error);
    if (!fs::exists(status)) return NotFound("cannot open {}: no such file or folder", source.string());
    if (!fs::is_directory(status)) {
      if (is_new(source)) NOSA_RETURN_IF_ERROR(ReadNamed(source, &corpus));
      continue;
    }
    NOSA_ASSIGN_OR_RETURN(const std::vector<fs::path> files, FilesBelow(source, options.extensions));
    for (const fs::path& file : files) {
      if (is_new(file)) NOSA_RETURN_IF_ERROR(ReadFound(file, options, &corpus));
    }
  }
  if (corpus.documents.empty())
    return NotFound("expected text, found none in {} places ({} files left out)", sources.size(), corpus.skipped);
  return corpus;
}

std::string JoinDocuments(const Corpus& corpus, uint64_t bytes, uint64_t seed) {
  std::string text;
  for (const size_t i : ShuffledIndices(corpus.documents.size(), seed, kDocumentStream)) {
    if (text.size() >= bytes) break;
    if (!text.empty()) text += text.ends_with('\n') ? "\n" : "\n\n";
    text += corpus.documents[i].text;
  }
  return text;
}

}  // namespace nosa::tasks

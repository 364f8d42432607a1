#include "apps/report.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace nosa::apps {

void PrintError(std::string_view prefix, std::string_view message) {
  std::string line = fmt::format("{}: {}", prefix, message);
  std::replace(line.begin(), line.end(), '\n', ' ');
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void Print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void PrintJson(const io::OrderedJson& json) { Print(io::DumpJson(json) + "\n"); }

Status FlushStdout() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return Status::Ok();
  return IoError("cannot write to stdout: {}", std::strerror(errno));
}

Status CheckOutputFile(std::string_view flag, const std::filesystem::path& file) {
  const std::filesystem::path directory = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error))
    return NotFound("{} {}: there is no directory {}", flag, file.string(), directory.string());
  if (std::filesystem::is_directory(file, error)) return InvalidArgument("{} {} is a directory", flag, file.string());
  if (::access(directory.c_str(), W_OK) != 0)
    return IoError("{} {}: cannot write in {}: {}", flag, file.string(), directory.string(), std::strerror(errno));
  return Status::Ok();
}

}  // namespace nosa::apps

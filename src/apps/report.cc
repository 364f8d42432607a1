#include "apps/report.h"

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

}  // namespace nosa::apps

#include "apps/machine.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "io/file.h"

namespace nosa::apps {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

// The number that `text` begins with after blanks; kUnknown when there is none ("max").
uint64_t LeadingNumber(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  uint64_t value = 0;
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc() ? value : kUnknown;
}

// A line of /proc/meminfo, in bytes.
uint64_t MemInfo(std::string_view key) {
  const Result<std::string> text = io::ReadTextFile("/proc/meminfo");
  const size_t at = text.ok() ? text->find(key) : std::string::npos;
  const uint64_t kib =
      at == std::string::npos ? kUnknown : LeadingNumber(std::string_view(*text).substr(at + key.size()));
  return kib == kUnknown ? kUnknown : kib * 1024;
}

uint64_t NumberInFile(const char* path) {
  const Result<std::string> text = io::ReadTextFile(path);
  return text.ok() ? LeadingNumber(*text) : kUnknown;
}

// What a container's limit leaves, where cgroups (version 2, then 1) set one.
uint64_t ContainerRamBytes() {
  struct Files {
    const char *limit, *used;
  };
  constexpr Files kVersions[] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const Files& files : kVersions) {
    const uint64_t limit = NumberInFile(files.limit), used = NumberInFile(files.used);
    if (limit != kUnknown && used != kUnknown) return limit - std::min(limit, used);
  }
  return kUnknown;
}

}  // namespace

uint64_t TotalRamBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), bytes = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(bytes) : 0;
}

uint64_t AvailableRamBytes() {
  const uint64_t available = MemInfo("MemAvailable:");
  return std::min(available == kUnknown ? TotalRamBytes() : available, ContainerRamBytes());
}

}  // namespace nosa::apps

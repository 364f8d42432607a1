// What the tests of this room share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/rng.h"
#include "base/status.h"
#include "io/file.h"

namespace nosa::io {

// EXPECT_THAT(status, Fails(StatusCode::kIo, "cannot read"));
MATCHER_P2(Fails, code, text, fmt::format("fails with {} and \"{}\"", StatusCodeName(code), text)) {
  *result_listener << arg.ToString();
  return arg.code() == code && arg.message().find(text) != std::string_view::npos;
}

#define EXPECT_OK(expr)                                    \
  do {                                                     \
    const ::nosa::Status expect_ok_ = (expr);              \
    EXPECT_TRUE(expect_ok_.ok()) << expect_ok_.ToString(); \
  } while (false)

// A directory of its own that goes away with its contents.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nosa-io-test-XXXXXX").string();
    NOSA_CHECK(::mkdtemp(pattern.data()) != nullptr, "no temporary directory");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      names.push_back(entry.path().filename().string());
    return names;
  }

 private:
  std::filesystem::path path_;
};

// Lowers a soft limit of the process while it lives.
class ScopedLimit {
 public:
  ScopedLimit(__rlimit_resource resource, rlim_t value) : resource_(resource) {
    ::getrlimit(resource_, &before_);
    const rlimit limit = {value, before_.rlim_max};
    NOSA_CHECK(::setrlimit(resource_, &limit) == 0, "setrlimit");
    // A write above RLIMIT_FSIZE also sends a signal, which would end the program.
    if (resource_ == RLIMIT_FSIZE) std::signal(SIGXFSZ, SIG_IGN);
  }
  ~ScopedLimit() {
    ::setrlimit(resource_, &before_);
    if (resource_ == RLIMIT_FSIZE) std::signal(SIGXFSZ, SIG_DFL);
  }
  ScopedLimit(const ScopedLimit&) = delete;
  ScopedLimit& operator=(const ScopedLimit&) = delete;

 private:
  __rlimit_resource resource_;
  rlimit before_ = {};
};

// The exit code of `body` run in a child process, where it may change what this process must keep.
inline int RunInChild(FunctionRef<int()> body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline std::vector<std::byte> RandomBytes(size_t n, uint64_t seed) {
  std::vector<std::byte> bytes(n);
  const Philox rng(seed);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(rng.Block(i / 16)[i / 4 % 4] >> (8 * (i % 4)));
  return bytes;
}

inline ConstBytes Bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

}  // namespace nosa::io

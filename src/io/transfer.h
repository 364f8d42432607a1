// One positional read or write, continued until it is whole. What a short, refused or interrupted transfer
// means is decided here once, for File and for both asynchronous backends. Private to the io room.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/async_io.h"

namespace nosa::io::internal {

// Linux moves at most 0x7ffff000 bytes per call; 1 GiB stays below and keeps what follows aligned.
inline constexpr uint64_t kMaxChunk = uint64_t{1} << 30;

struct Transfer {
  AsyncRequest request;
  uint64_t max_chunk = kMaxChunk;  // most bytes of one system call; tests make it small
  std::string_view name = {};      // for messages; empty: asked of the system when one is needed
  uint64_t done = 0;               // bytes moved so far
  int stalls = 0;                  // EAGAIN in a row

  bool reading() const { return request.kind == AsyncRequest::Kind::kRead; }
  // What the next system call is to move.
  std::byte* data() const { return request.data + done; }
  uint64_t offset() const { return request.offset + done; }
  uint64_t bytes() const { return std::min(request.bytes - done, max_chunk); }
};

// Before the first system call: the outcome when none is needed (no bytes) or allowed (a range above 2^63 - 1,
// which io_uring would partly read as "the current position"), else nothing.
std::optional<Status> Begin(const Transfer& transfer);

// Takes the outcome of one system call (bytes moved, or minus an errno). Nothing: call again for the rest.
std::optional<Status> Advance(Transfer* transfer, int64_t result);

// All of it with pread or pwrite, blocking.
Status RunBlocking(Transfer transfer);

}  // namespace nosa::io::internal

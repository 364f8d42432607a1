// The implementations of AsyncIo. Private to the io room: callers use MakeAsyncIo.
#pragma once

#include <memory>
#include <string>

#include "io/async_io.h"
#include "io/transfer.h"

namespace nosa::io::internal {

// `max_chunk`: most bytes of one system call; tests make it small to see transfers continued.

// Fails with kFailedPrecondition and the kernel's reason alone ("Operation not permitted").
Result<std::unique_ptr<AsyncIo>> MakeUringIo(int depth, uint64_t max_chunk = kMaxChunk);

// `note` goes to the end of Describe(). Fails with kResourceExhausted when not one thread can be started.
Result<std::unique_ptr<AsyncIo>> MakeThreadsIo(int threads, std::string note, uint64_t max_chunk = kMaxChunk);

}  // namespace nosa::io::internal

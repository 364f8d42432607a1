#include "io/async_io.h"

#include "io/async_backends.h"

namespace nosa::io {
namespace {

// The kernel refuses larger rings (IORING_MAX_ENTRIES is 32768, and completions get several times as many).
constexpr int kMaxDepth = 2048;
constexpr int kMaxThreads = 1024;

Status CheckRange(std::string_view what, int value, int max) {
  if (value >= 1 && value <= max) return Status::Ok();
  return InvalidArgument("expected 1 to {} for the {} of asynchronous I/O, found {}", max, what, value);
}

}  // namespace

Result<std::unique_ptr<AsyncIo>> MakeAsyncIo(const AsyncIoOptions& options) {
  NOSA_RETURN_IF_ERROR(CheckRange("depth", options.depth, kMaxDepth));
  NOSA_RETURN_IF_ERROR(CheckRange("threads", options.threads, kMaxThreads));
  if (options.backend == AsyncBackend::kThreads) return internal::MakeThreadsIo(options.threads, "");
  Result<std::unique_ptr<AsyncIo>> uring = internal::MakeUringIo(options.depth);
  if (uring.ok()) return uring;
  const std::string reason = fmt::format("io_uring refused: {}", uring.status().message());
  if (options.backend == AsyncBackend::kUring) return Status(uring.status().code(), reason);
  return internal::MakeThreadsIo(options.threads, fmt::format(" ({})", reason));
}

}  // namespace nosa::io

#include "apps/disk_rate.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/rng.h"
#include "io/async_io.h"
#include "io/file.h"
#include "tensor/buffer.h"

namespace nosa::apps {
namespace {

// Requests as large and as many as disks of any kind need to show all they can.
constexpr uint64_t kRequestBytes = 4 * kMiB;
constexpr size_t kDepth = 8;

void FillRandom(MutableBytes bytes) {
  const Philox rng(20261123);
  for (size_t at = 0; at + 16 <= bytes.size(); at += 16) {
    const std::array<uint32_t, 4> words = rng.Block(at);
    std::memcpy(bytes.data() + at, words.data(), sizeof words);
  }
}

// Every request of the file through `io`, kDepth in flight; request i uses piece i % kDepth of `memory` only once that
// piece's last request is done.
Status Transfer(io::AsyncIo& io, io::AsyncRequest::Kind kind, const io::File& file, uint64_t bytes,
                const Buffer& memory) {
  const uint64_t count = bytes / kRequestBytes;
  uint64_t next = 0;
  const auto submit = [&](size_t piece) {
    const io::AsyncRequest request = {.kind = kind,
                                      .fd = file.fd(),
                                      .offset = next++ * kRequestBytes,
                                      .data = memory.data() + piece * kRequestBytes,
                                      .bytes = kRequestBytes,
                                      .tag = piece};
    io.Submit({&request, 1});
  };
  for (size_t piece = 0; piece < kDepth && next < count; ++piece) submit(piece);
  Status status;
  std::array<io::AsyncCompletion, kDepth> done;
  while (io.in_flight() > 0) {
    const size_t finished = io.Poll(done, true);
    for (size_t i = 0; i < finished; ++i) {
      if (status.ok()) status = done[i].status;
      if (status.ok() && next < count) submit(done[i].tag);
    }
  }
  return status;
}

}  // namespace

Result<DiskRate> MeasureDiskRate(const DiskPlace& place, uint64_t most_bytes, int passes) {
  DiskRate rate;
  rate.bytes = place.capacity_bytes == 0 ? most_bytes : std::min(most_bytes, place.capacity_bytes);
  rate.bytes = rate.bytes / kRequestBytes * kRequestBytes;
  if (rate.bytes == 0)
    return InvalidArgument("a disk's rate needs {} of it at least, found {}", FormatByteSize(kRequestBytes),
                           FormatByteSize(place.capacity_bytes));
  NOSA_ASSIGN_OR_RETURN(const io::File file, io::File::OpenAnonymous(place.directory, true, &rate.direct));
  NOSA_RETURN_IF_ERROR(file.Reserve(rate.bytes));
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<io::AsyncIo> io, io::MakeAsyncIo({.depth = static_cast<int>(kDepth)}));
  const Buffer memory = Buffer::Host(kDepth * kRequestBytes, std::max<size_t>(4096, io::DirectIoAlignment(file)));
  FillRandom(memory.span());
  NOSA_RETURN_IF_ERROR(Transfer(*io, io::AsyncRequest::Kind::kWrite, file, rate.bytes, memory));
  for (int pass = 0; pass < passes; ++pass) {
    const Stopwatch watch;
    NOSA_RETURN_IF_ERROR(Transfer(*io, io::AsyncRequest::Kind::kRead, file, rate.bytes, memory));
    rate.seconds.push_back(watch.Seconds());
  }
  return rate;
}

}  // namespace nosa::apps

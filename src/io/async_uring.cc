#include <liburing.h>

#include <cerrno>
#include <deque>
#include <thread>
#include <vector>

#include "io/async_backends.h"
#include "io/errno_status.h"

namespace nosa::io::internal {
namespace {

// The kernel may hold this many times `depth` transfers at once: `depth` entries carry requests in, and each
// batch frees them again. So a caller that submits much and then computes leaves the disk with work.
constexpr unsigned kInKernelPerEntry = 8;

class UringIo final : public AsyncIo {
 public:
  explicit UringIo(uint64_t max_chunk) : max_chunk_(max_chunk) {}

  ~UringIo() override {
    if (!open_) return;
    while (Unfinished()) {
      WaitForOne();
      Reap();
      Pump();
    }
    io_uring_queue_exit(&ring_);
  }

  Status Start(int depth) {
    depth_ = depth;
    io_uring_params params = {};
    params.flags = IORING_SETUP_CQSIZE;
    params.cq_entries = kInKernelPerEntry * static_cast<unsigned>(depth);
    const int rc = io_uring_queue_init_params(static_cast<unsigned>(depth), &ring_, &params);
    if (rc < 0) return FailedPrecondition("{}", ErrnoText(-rc));
    open_ = true;
    NOSA_RETURN_IF_ERROR(TryOnce());
    // One slot for each place of the completion queue, so that it cannot overflow.
    slots_.resize(params.cq_entries);
    for (uint32_t i = params.cq_entries; i > 0; --i) free_.push_back(i - 1);
    return Status::Ok();
  }

  std::string Describe() const override { return fmt::format("io_uring, depth {}", depth_); }

  void Submit(std::span<const AsyncRequest> requests) override {
    in_flight_ += requests.size();
    for (const AsyncRequest& request : requests) {
      Transfer transfer = {.request = request, .max_chunk = max_chunk_};
      if (std::optional<Status> outcome = Begin(transfer)) {
        finished_.push_back({request.tag, *std::move(outcome)});
      } else {
        backlog_.push_back(transfer);
      }
    }
    Reap();
    Pump();
  }

  size_t Poll(std::span<AsyncCompletion> out, bool wait) override {
    if (in_flight_ == 0 || out.empty()) return 0;
    Reap();
    Pump();
    while (wait && finished_.empty()) {
      WaitForOne();
      Reap();
      Pump();
    }
    size_t n = 0;
    for (; n < out.size() && !finished_.empty(); ++n) {
      out[n] = std::move(finished_.front());
      finished_.pop_front();
    }
    in_flight_ -= n;
    return n;
  }

  size_t in_flight() const override { return in_flight_; }

 private:
  // After Pump there is a backlog only while every slot is taken.
  bool Unfinished() const { return free_.size() < slots_.size(); }

  // A sandbox may allow the ring and refuse its use, and kernels before 5.6 lack the operations we need.
  Status TryOnce() {
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    const bool known = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0 &&
                       io_uring_opcode_supported(probe, IORING_OP_WRITE) != 0;
    io_uring_free_probe(probe);
    if (!known) return FailedPrecondition("the kernel lacks positional reads and writes for it (Linux 5.6 has them)");
    io_uring_prep_nop(io_uring_get_sqe(&ring_));
    io_uring_cqe* cqe = nullptr;
    int rc = io_uring_submit(&ring_);
    if (rc >= 0) {
      do {
        rc = io_uring_wait_cqe(&ring_, &cqe);
      } while (rc == -EINTR);
    }
    if (rc < 0) return FailedPrecondition("{}", ErrnoText(-rc));
    io_uring_cqe_seen(&ring_, cqe);
    return Status::Ok();
  }

  // The slot of the next transfer to hand to the kernel; false when there is none or no slot for it.
  bool NextRunnable(uint32_t* slot) {
    if (!again_.empty()) {
      *slot = again_.back();
      again_.pop_back();
      return true;
    }
    if (backlog_.empty() || free_.empty()) return false;
    *slot = free_.back();
    free_.pop_back();
    slots_[*slot] = backlog_.front();
    backlog_.pop_front();
    return true;
  }

  void Prepare(io_uring_sqe* sqe, uint32_t slot) {
    const Transfer& t = slots_[slot];
    const auto bytes = static_cast<unsigned>(t.bytes());
    if (t.reading()) {
      io_uring_prep_read(sqe, t.request.fd, t.data(), bytes, t.offset());
    } else {
      io_uring_prep_write(sqe, t.request.fd, t.data(), bytes, t.offset());
    }
    io_uring_sqe_set_data64(sqe, slot);
  }

  // Hands over all that has room.
  void Pump() {
    for (;;) {
      uint32_t slot;
      while (io_uring_sq_space_left(&ring_) > 0 && NextRunnable(&slot)) Prepare(io_uring_get_sqe(&ring_), slot);
      if (io_uring_sq_ready(&ring_) == 0) return;
      const int rc = io_uring_submit(&ring_);
      if (rc >= 0 || rc == -EINTR) continue;
      // The kernel is short of memory or wants completions taken first; all else would be our bug.
      NOSA_CHECK(rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM, "io_uring_enter: {}", ErrnoText(-rc));
      Reap();
      std::this_thread::yield();
    }
  }

  // Takes what the kernel has finished; what must go on waits in `again_` for Pump.
  void Reap() {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const auto slot = static_cast<uint32_t>(io_uring_cqe_get_data64(cqe));
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      Transfer& t = slots_[slot];
      if (std::optional<Status> outcome = Advance(&t, result)) {
        finished_.push_back({t.request.tag, *std::move(outcome)});
        free_.push_back(slot);
      } else {
        again_.push_back(slot);
      }
    }
  }

  void WaitForOne() {
    io_uring_cqe* cqe = nullptr;
    const int rc = io_uring_wait_cqe(&ring_, &cqe);
    NOSA_CHECK(rc == 0 || rc == -EINTR || rc == -EAGAIN, "io_uring_enter: {}", ErrnoText(-rc));
  }

  const uint64_t max_chunk_;
  int depth_ = 0;
  bool open_ = false;
  io_uring ring_ = {};
  size_t in_flight_ = 0;
  std::vector<Transfer> slots_;   // in the kernel's hands or in again_, unless free
  std::vector<uint32_t> free_;    // slots
  std::vector<uint32_t> again_;   // slots whose transfers are to be continued
  std::deque<Transfer> backlog_;  // submitted, without a slot yet
  std::deque<AsyncCompletion> finished_;
};

}  // namespace

Result<std::unique_ptr<AsyncIo>> MakeUringIo(int depth, uint64_t max_chunk) {
  auto io = std::make_unique<UringIo>(max_chunk);
  NOSA_RETURN_IF_ERROR(io->Start(depth));
  return std::unique_ptr<AsyncIo>(std::move(io));
}

}  // namespace nosa::io::internal

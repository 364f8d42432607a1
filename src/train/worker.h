// One of the threads that learn: its decoder, its gradients, its part of each step.
#pragma once

#include <memory>

#include "base/parallel.h"
#include "train/decoder.h"
#include "train/sequence_source.h"

namespace nosa::train {

// Sequences of one step or one evaluation, in host memory.
struct Batch {
  int rows = 0, length = 0;
  at::Tensor ids, targets;  // [rows * length] i64
  at::Tensor weights;       // [rows * length] f32
  at::Tensor answers;       // [rows * length] u8

  Batch(int rows, int length);
  Row row(int i) const;
  // Rows [begin, begin + count) of `x`, one of the tensors.
  at::Tensor Part(const at::Tensor& x, int begin, int count, at::Device device) const;
};

// Workers on threads of their own; sequences are split among them by number, so that what each computes, and the order
// in which gradients are added, depend on their count alone. On the CPU each worker is one thread: LibTorch's own
// threads wait for each other at every small product, and stand still when the machine is shared.
class Workers {
 public:
  // Borrows backends and parameters.
  Workers(std::span<ops::Backend* const> backends, const Parameters& parameters);

  int size() const { return static_cast<int>(workers_.size()); }
  // The gradient of the last Learn, all workers' together.
  const at::Tensor& gradient() { return workers_[0]->decoder.leaves().gradient; }

  // The weighted mean loss of the batch (weights divided by their sum), and its gradient, which replaces the last one.
  // `micro_batch`: sequences that one worker has at once; 0: all its. Errors are what LibTorch threw: memory.
  Result<double> Learn(const Batch& batch, int micro_batch, const ForwardOptions& options);

  struct Judged {
    double loss = 0;  // sum
    int64_t targets = 0, answers = 0, right_answers = 0;
    std::vector<AttentionHeld> held;  // by layer
  };
  // Targets of positive weight, without gradients.
  Result<Judged> Judge(const Batch& batch, int micro_batch, const ForwardOptions& options);

  // Decoder::FirstNonFinite over the batch's sequences; "the gradient of NAME" when forward all is finite.
  std::string FirstNonFinite(const Batch& batch, const ForwardOptions& options);

 private:
  struct Worker {
    Worker(ops::Backend* backend, const Parameters& parameters) : compute(backend), decoder(compute, parameters) {}
    Compute compute;
    Decoder decoder;
    double loss = 0;
    Judged judged;
    Status status;
  };
  // Calls body(worker, first row, rows) for pieces of every worker's rows; what it throws becomes a Status.
  Status ForEachPiece(const Batch& batch, int micro_batch,
                      const std::function<void(Worker&, int begin, int count)>& body);

  const Parameters& parameters_;
  std::vector<std::unique_ptr<Worker>> workers_;
  ThreadPool pool_;
};

}  // namespace nosa::train

#include "train/worker.h"

#include <dlfcn.h>

#include <algorithm>
#include <exception>

namespace nosa::train {
namespace {

// OpenBLAS starts threads of its own, which LibTorch does not know how to bound. Absent on other BLAS libraries.
void BoundBlasThreads(int threads) {
  using SetThreads = void (*)(int);
  const auto set = reinterpret_cast<SetThreads>(::dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
  if (set != nullptr) set(threads);
}

// LibTorch puts a trace of its stack behind the first line.
std::string FirstLine(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

Batch::Batch(int rows, int length) : rows(rows), length(length) {
  const int64_t size = int64_t{rows} * length;
  ids = at::zeros({size}, at::kLong);
  targets = at::zeros({size}, at::kLong);
  weights = at::zeros({size}, at::kFloat);
  answers = at::zeros({size}, at::kByte);
}

Row Batch::row(int i) const {
  const size_t begin = static_cast<size_t>(i) * static_cast<size_t>(length), count = static_cast<size_t>(length);
  return {.ids = {ids.data_ptr<int64_t>() + begin, count},
          .targets = {targets.data_ptr<int64_t>() + begin, count},
          .weights = {weights.data_ptr<float>() + begin, count},
          .answers = {answers.data_ptr<uint8_t>() + begin, count}};
}

at::Tensor Batch::Part(const at::Tensor& x, int begin, int count, at::Device device) const {
  return x.narrow(0, int64_t{begin} * length, int64_t{count} * length).to(device);
}

Workers::Workers(std::span<ops::Backend* const> backends, const Parameters& parameters)
    : parameters_(parameters), pool_(static_cast<int>(backends.size())) {
  for (ops::Backend* backend : backends) workers_.push_back(std::make_unique<Worker>(backend, parameters));
  // One worker may have several threads: a long sequence cannot be shared.
  const int threads = std::max(1, backends[0]->threads());
  BoundBlasThreads(threads);
  pool_.RunOnAll([threads](int) { at::set_num_threads(threads); });
}

Status Workers::ForEachPiece(const Batch& batch, int micro_batch,
                             const std::function<void(Worker&, int begin, int count)>& body) {
  pool_.RunOnAll([&](int thread) {
    Worker& worker = *workers_[static_cast<size_t>(thread)];
    const int begin = batch.rows * thread / size(), end = batch.rows * (thread + 1) / size();
    const int step = micro_batch > 0 ? micro_batch : std::max(1, end - begin);
    worker.status = Status::Ok();
    try {
      for (int at = begin; at < end; at += step) body(worker, at, std::min(step, end - at));
    } catch (const std::exception& error) {
      worker.status = ResourceExhausted("LibTorch gave up: {}", FirstLine(error));
    }
  });
  for (const auto& worker : workers_) NOSA_RETURN_IF_ERROR(worker->status);
  return Status::Ok();
}

Result<double> Workers::Learn(const Batch& batch, int micro_batch, const ForwardOptions& options) {
  const double sum = std::max(batch.weights.sum().item<double>(), 1e-9);
  for (const auto& worker : workers_) {
    worker->loss = 0;
    worker->decoder.leaves().gradient.zero_();
  }
  NOSA_RETURN_IF_ERROR(ForEachPiece(batch, micro_batch, [&](Worker& worker, int begin, int count) {
    const at::Device device = worker.compute.device();
    const at::Tensor loss = worker.decoder.Loss(
        batch.Part(batch.ids, begin, count, device), batch.Part(batch.targets, begin, count, device),
        batch.Part(batch.weights, begin, count, device).div(sum), batch.length, options);
    torch::autograd::backward({loss}, {});
    worker.loss += loss.item<double>();
  }));
  double loss = workers_[0]->loss;
  for (size_t i = 1; i < workers_.size(); ++i) {
    loss += workers_[i]->loss;
    workers_[0]->decoder.leaves().gradient.add_(workers_[i]->decoder.leaves().gradient);
  }
  return loss;
}

Result<Workers::Judged> Workers::Judge(const Batch& batch, int micro_batch, const ForwardOptions& options) {
  const auto layers = static_cast<size_t>(parameters_.config().num_layers);
  for (const auto& worker : workers_) worker->judged = {.held = std::vector<AttentionHeld>(layers)};
  NOSA_RETURN_IF_ERROR(ForEachPiece(batch, micro_batch, [&](Worker& worker, int begin, int count) {
    const at::Device device = worker.compute.device();
    ForwardOptions looking = options;
    looking.held = &worker.judged.held;
    const TokenLosses all =
        worker.decoder.Losses(batch.Part(batch.ids, begin, count, device),
                              batch.Part(batch.targets, begin, count, device), batch.length, looking);
    const at::Tensor counted = batch.Part(batch.weights, begin, count, device).gt(0);
    const at::Tensor answers = batch.Part(batch.answers, begin, count, device).gt(0);
    worker.judged.loss += (all.losses * counted).sum().item<double>();
    worker.judged.targets += counted.sum().item<int64_t>();
    worker.judged.answers += answers.sum().item<int64_t>();
    worker.judged.right_answers += answers.logical_and(all.right).sum().item<int64_t>();
  }));
  Judged judged = {.held = std::vector<AttentionHeld>(layers)};
  for (const auto& worker : workers_) {
    for (size_t i = 0; i < layers; ++i) {
      judged.held[i].sum += worker->judged.held[i].sum;
      judged.held[i].rows += worker->judged.held[i].rows;
    }
    judged.loss += worker->judged.loss;
    judged.targets += worker->judged.targets;
    judged.answers += worker->judged.answers;
    judged.right_answers += worker->judged.right_answers;
  }
  return judged;
}

std::string Workers::FirstNonFinite(const Batch& batch, const ForwardOptions& options) {
  Worker& worker = *workers_[0];
  for (int i = 0; i < batch.rows; ++i) {
    const std::string where =
        worker.decoder.FirstNonFinite(batch.Part(batch.ids, i, 1, worker.compute.device()), batch.length, options);
    if (!where.empty()) return where;
  }
  for (const auto& [name, value] : parameters_.NamedIn(gradient())) {
    if (!at::isfinite(value).all().item<bool>()) return "the gradient of " + name;
  }
  return "the sum of the losses";
}

}  // namespace nosa::train

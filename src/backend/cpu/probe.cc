#include "backend/cpu/probe.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <dnnl.hpp>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/clock.h"

namespace nosa::cpu {
namespace {

uint64_t SumWords(const uint64_t* words, size_t n) {
  // Independent sums, so that the loop waits for memory and not for itself.
  constexpr size_t kLanes = 32;
  uint64_t sums[kLanes] = {};
  for (size_t i = 0; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum += s;
  return sum;
}

// Runs one thread's share of the product `repeats` times; its fastest seconds, 0 where there is no such product.
double TimeProduct(DType dtype, int64_t m, int64_t n, int64_t k, int repeats) {
  using dnnl::memory;
  omp_set_num_threads(1);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
  try {
    const dnnl::matmul::primitive_desc desc(
        dnnl::matmul::desc(memory::desc({m, k}, type, memory::format_tag::ab),
                           memory::desc({k, n}, type, memory::format_tag::any),
                           memory::desc({m, n}, memory::data_type::f32, memory::format_tag::ab)),
        engine);
    memory x(desc.src_desc(), engine), w(desc.weights_desc(), engine), y(desc.dst_desc(), engine);
    std::memset(x.get_data_handle(), 0, desc.src_desc().get_size());
    std::memset(w.get_data_handle(), 0, desc.weights_desc().get_size());
    const dnnl::matmul product(desc);
    double best = 1e30;
    for (int i = 0; i < repeats; ++i) {
      const Stopwatch watch;
      product.execute(stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}});
      stream.wait();
      best = std::min(best, watch.Seconds());
    }
    return best;
  } catch (const dnnl::error&) {
    return 0;
  }
}

}  // namespace

double ReadBandwidth(ops::Backend& backend, size_t bytes, int repeats) {
  const Buffer buffer = Buffer::Host(bytes);
  std::memset(buffer.data(), 1, bytes);  // untouched pages would all be the one page of zeros
  constexpr int64_t kPiece = 1 << 20;
  const int64_t pieces = static_cast<int64_t>(bytes) / kPiece;
  std::atomic<uint64_t> sink{0};
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    backend.pool()->ParallelFor(pieces, 1, [&](int64_t begin, int64_t end, int) {
      sink += SumWords(reinterpret_cast<const uint64_t*>(buffer.data() + begin * kPiece),
                       static_cast<size_t>((end - begin) * kPiece) / 8);
    });
    best = std::min(best, watch.Seconds());
  }
  NOSA_CHECK(sink.load() != 0, "the sum of ones is zero");
  return static_cast<double>(pieces * kPiece) / best;
}

double OneDnnPeak(ops::Backend& backend, DType dtype, int64_t m, int64_t n, int64_t k, int repeats) {
  const int64_t threads = backend.threads();
  const int64_t rows = std::max<int64_t>(1, m / threads);
  std::vector<double> seconds(static_cast<size_t>(threads));
  backend.pool()->RunOnAll(
      [&](int thread) { seconds[static_cast<size_t>(thread)] = TimeProduct(dtype, rows, n, k, repeats); });
  const double slowest = *std::max_element(seconds.begin(), seconds.end());
  return slowest == 0
             ? 0
             : 2.0 * static_cast<double>(rows * threads) * static_cast<double>(n) * static_cast<double>(k) / slowest;
}

}  // namespace nosa::cpu

#include "backend/cuda/probe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <thread>

#include "backend/cuda/context.h"
#include "backend/cuda/probe_kernels.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/rng.h"
#include "ops/copy_blocks.h"
#include "ops/product.h"

namespace nosa::cuda {
namespace {

constexpr ops::Stream kMain = {0}, kSide = {1};
// Blocks that are copied by commands: as many as take some milliseconds.
constexpr size_t kCommandBytes = size_t{64} << 20;
// What the overlap moves: 2 ms of PCIe 5 beside 2.5 ms of products on the GPU of docs/performance.md.
constexpr size_t kOverlapBytes = size_t{100} << 20;
constexpr int kOverlapProducts = 28;
// Weights of all shapes lie in one buffer, and products walk it: over ten times the largest L2.
constexpr size_t kWeightBytes = size_t{900} << 20;
constexpr int kWalks = 4;  // in one run
constexpr int64_t kMostRows = 64, kMostInputs = 14336, kMostOutputs = 28672;

// Two events around work.
class DeviceStopwatch {
 public:
  DeviceStopwatch() {
    NOSA_CUDA_CHECK(cudaEventCreate(&start_));
    NOSA_CUDA_CHECK(cudaEventCreate(&stop_));
  }
  ~DeviceStopwatch() {
    cudaEventDestroy(start_);
    cudaEventDestroy(stop_);
  }
  DeviceStopwatch(const DeviceStopwatch&) = delete;
  DeviceStopwatch& operator=(const DeviceStopwatch&) = delete;

  double Seconds(cudaStream_t stream, const std::function<void()>& work) {
    NOSA_CUDA_CHECK(cudaEventRecord(start_, stream));
    work();
    NOSA_CUDA_CHECK(cudaEventRecord(stop_, stream));
    NOSA_CUDA_CHECK(cudaEventSynchronize(stop_));
    float ms = 0;
    NOSA_CUDA_CHECK(cudaEventElapsedTime(&ms, start_, stop_));
    return ms * 1e-3;
  }

 private:
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

// Slots of a pool in random order, each once.
std::vector<uint32_t> RandomOrder(size_t slots) {
  std::vector<uint32_t> order(slots);
  std::iota(order.begin(), order.end(), 0u);
  const Philox rng(20261122);
  for (size_t i = slots - 1; i > 0; --i) std::swap(order[i], order[rng.Block(i)[0] % (i + 1)]);
  return order;
}

// Copies of one block each: for every run others, as far as the pool goes.
struct BlockPlan {
  size_t block_bytes = 0;
  int count = 0;                       // of one run
  std::vector<ops::BlockCopy> copies;  // [runs, count]
  const ops::BlockCopy* Of(int run) const {
    return copies.data() + static_cast<size_t>(run) * static_cast<size_t>(count);
  }
  double RunBytes() const { return static_cast<double>(block_bytes) * count; }
};

class Probe final : public TransferProbe {
 public:
  Probe(ops::Backend& backend, int repeats) : backend_(backend), context_(ContextOf(backend)), repeats_(repeats) {}

  Status Init();
  Result<Measured> DeviceCopy() override;
  Result<Measured> EngineCopy(Direction direction, MemoryKind host, size_t bytes) override;
  Result<std::vector<Measured>> Gather(size_t block_bytes, std::span<const int> workers) override;
  Result<Measured> CopyEach(size_t block_bytes) override;
  Result<Measured> CopyBatch(size_t block_bytes) override;
  Result<Measured> Products(const ProductShape& shape) override;
  Result<Overlap> GatherBesideProducts(size_t block_bytes, int workers, const ProductShape& shape) override;
  Result<Measured> EmptyLaunches(int launches, bool graph) override;

 private:
  // A plan where kernels read it.
  struct DevicePlan {
    Buffer copies;
    Buffer count;
  };

  cudaStream_t main() { return context_.stream(kMain); }
  cudaStream_t side() { return context_.stream(kSide); }
  // The halves of the device memory: what comes from the host, and what goes there.
  std::byte* arrivals() const { return device_.data(); }
  std::byte* departures() const { return device_.data() + kDeviceBytes / 2; }

  // New random words in all of the device memory: what a copy left there before cannot pass for what one brings.
  void Scramble() { FillRandom(device_.as<uint32_t>(), kDeviceBytes / sizeof(uint32_t), seed_++, main()); }
  Measured Time(double amount, const std::function<void(int run)>& work);
  // What `work` gives to side() starts after what main() was given before, and main() goes on after both.
  void OnSide(const std::function<void()>& work);
  void IssueCopies(Direction direction, const Buffer& host, size_t bytes, cudaStream_t stream) const;
  BlockPlan MakePlan(size_t block_bytes, size_t run_bytes) const;
  Result<DevicePlan> Upload(const BlockPlan& plan);
  void RunGather(const BlockPlan& plan, const DevicePlan& device, int run, int workers, ops::Stream stream);
  // Whether both places hold the same bytes; either may be on the device.
  bool Same(const void* a, const void* b, size_t bytes);
  // What run 0 of the plan copied: first, middle and last block.
  Status CheckPlan(const BlockPlan& plan, std::string_view what);
  Status NeedWeights();
  void RunProducts(const ProductShape& shape, int first, int count, ops::Stream stream);
  Status CheckProduct(const ProductShape& shape);
  int WeightSlots(const ProductShape& shape) const { return static_cast<int>(kWeightBytes / WeightBytes(shape)); }
  static size_t WeightBytes(const ProductShape& shape) {
    return static_cast<size_t>(shape.n * shape.k) * sizeof(BFloat16);
  }
  ConstTensorView Weight(const ProductShape& shape, int i) const {
    return {weights_.data() + static_cast<size_t>(i % WeightSlots(shape)) * WeightBytes(shape),
            DType::kBF16,
            {shape.n, shape.k}};
  }

  ops::Backend& backend_;
  Context& context_;
  const int repeats_;
  DeviceStopwatch stopwatch_;
  int device_index_ = 0;
  uint32_t seed_ = 0;
  Buffer pool_, device_, pageable_;
  Buffer weights_, x_, y_;
};

Status Probe::Init() {
  NOSA_CUDA_CHECK(cudaGetDevice(&device_index_));
  NOSA_ASSIGN_OR_RETURN(device_, backend_.Allocate(kDeviceBytes, MemoryKind::kDevice));
  NOSA_ASSIGN_OR_RETURN(pool_, backend_.Allocate(kPoolBytes, MemoryKind::kPinned));
  for (size_t at = 0; at < kPoolBytes; at += kDeviceBytes) {
    Scramble();
    backend_.Copy(pool_.data() + at, device_.data(), kDeviceBytes, kMain);
  }
  backend_.Synchronize(kMain);
  // The clocks of a GPU that did nothing are low.
  constexpr double kWarmSeconds = 0.3;
  for (const Stopwatch watch; watch.Seconds() < kWarmSeconds;) {
    backend_.Copy(departures(), arrivals(), kDeviceBytes / 2, kMain);
    backend_.Synchronize(kMain);
  }
  return Status::Ok();
}

Measured Probe::Time(double amount, const std::function<void(int)>& work) {
  Measured measured = {.amount = amount, .seconds = {}};
  for (int run = 0; run <= repeats_; ++run) {
    const double seconds = stopwatch_.Seconds(main(), [&] { work(run); });
    if (run > 0) measured.seconds.push_back(seconds);
  }
  return measured;
}

void Probe::OnSide(const std::function<void()>& work) {
  backend_.WaitOn(kSide, backend_.Record(kMain));
  work();
  backend_.WaitOn(kMain, backend_.Record(kSide));
}

bool Probe::Same(const void* a, const void* b, size_t bytes) {
  std::vector<std::byte> left(bytes), right(bytes);
  backend_.Copy(left.data(), a, bytes, kMain);
  backend_.Copy(right.data(), b, bytes, kMain);
  backend_.Synchronize(kMain);
  return std::memcmp(left.data(), right.data(), bytes) == 0;
}

Result<Measured> Probe::DeviceCopy() {
  constexpr int kCopies = 4;  // in one run
  const size_t bytes = kDeviceBytes / 2;
  Scramble();
  Measured measured = Time(2.0 * kCopies * static_cast<double>(bytes), [&](int) {
    for (int i = 0; i < kCopies; ++i) backend_.Copy(departures(), arrivals(), bytes, kMain);
  });
  if (!Same(departures(), arrivals(), kMiB)) return Internal("a copy in device memory came out wrong");
  return measured;
}

void Probe::IssueCopies(Direction direction, const Buffer& host, size_t bytes, cudaStream_t stream) const {
  const bool up = direction == Direction::kToDevice;
  // The halves of the host memory, as those of the device.
  std::byte* base = host.data() + (up ? 0 : host.size() / 2);
  for (size_t at = 0; at + bytes <= kRunBytes; at += bytes) {
    if (up) {
      NOSA_CUDA_CHECK(cudaMemcpyAsync(arrivals() + at, base + at, bytes, cudaMemcpyHostToDevice, stream));
    } else {
      NOSA_CUDA_CHECK(cudaMemcpyAsync(base + at, departures() + at, bytes, cudaMemcpyDeviceToHost, stream));
    }
  }
}

Result<Measured> Probe::EngineCopy(Direction direction, MemoryKind host, size_t bytes) {
  NOSA_CHECK(bytes > 0 && kRunBytes % bytes == 0, "copies of {} in runs of {}", bytes, kRunBytes);
  if (host == MemoryKind::kHost && pageable_.size() == 0) {
    NOSA_ASSIGN_OR_RETURN(pageable_, backend_.Allocate(2 * kRunBytes, MemoryKind::kHost));
    std::memcpy(pageable_.data(), pool_.data(), pageable_.size());
  }
  const Buffer& memory = host == MemoryKind::kHost ? pageable_ : pool_;
  Scramble();
  Measured measured;
  if (direction == Direction::kBoth) {
    measured = Time(2.0 * kRunBytes, [&](int) {
      OnSide([&] {
        std::thread other([&] {
          NOSA_CUDA_CHECK(cudaSetDevice(device_index_));  // a thread's own
          IssueCopies(Direction::kFromDevice, memory, bytes, side());
        });
        IssueCopies(Direction::kToDevice, memory, bytes, main());
        other.join();
      });
    });
  } else {
    measured = Time(kRunBytes, [&](int) { IssueCopies(direction, memory, bytes, main()); });
  }
  for (const size_t at : {size_t{0}, kRunBytes - kMiB}) {
    if (direction != Direction::kFromDevice && !Same(memory.data() + at, arrivals() + at, kMiB))
      return Internal("a copy to the device came out wrong");
    if (direction != Direction::kToDevice && !Same(memory.data() + memory.size() / 2 + at, departures() + at, kMiB))
      return Internal("a copy from the device came out wrong");
  }
  return measured;
}

BlockPlan Probe::MakePlan(size_t block_bytes, size_t run_bytes) const {
  NOSA_CHECK(block_bytes > 0 && block_bytes % 16 == 0, "blocks of {} bytes", block_bytes);
  const std::vector<uint32_t> order = RandomOrder(kPoolBytes / block_bytes);
  BlockPlan plan = {.block_bytes = block_bytes, .count = static_cast<int>(run_bytes / block_bytes), .copies = {}};
  size_t next = 0;
  for (int run = 0; run <= repeats_; ++run) {
    for (size_t i = 0; i < static_cast<size_t>(plan.count); ++i) {
      plan.copies.push_back(
          {pool_.data() + size_t{order[next++ % order.size()]} * block_bytes, arrivals() + i * block_bytes});
    }
  }
  return plan;
}

Result<Probe::DevicePlan> Probe::Upload(const BlockPlan& plan) {
  DevicePlan device;
  const size_t bytes = plan.copies.size() * sizeof(ops::BlockCopy);
  NOSA_ASSIGN_OR_RETURN(device.copies, backend_.Allocate(bytes, MemoryKind::kDevice));
  NOSA_ASSIGN_OR_RETURN(device.count, backend_.Allocate(sizeof(int32_t), MemoryKind::kDevice));
  backend_.Copy(device.copies.data(), plan.copies.data(), bytes, kMain);
  const int32_t count = plan.count;
  backend_.Copy(device.count.data(), &count, sizeof count, kMain);
  backend_.Synchronize(kMain);
  return device;
}

void Probe::RunGather(const BlockPlan& plan, const DevicePlan& device, int run, int workers, ops::Stream stream) {
  ops::copy_blocks(
      backend_, stream,
      {.copies = device.copies.as<ops::BlockCopy>() + static_cast<size_t>(run) * static_cast<size_t>(plan.count),
       .count = device.count.as<int32_t>(),
       .most = plan.count,
       .bytes = plan.block_bytes,
       .workers = workers});
}

Status Probe::CheckPlan(const BlockPlan& plan, std::string_view what) {
  for (const int i : {0, plan.count / 2, plan.count - 1}) {
    const ops::BlockCopy& copy = plan.Of(0)[i];
    if (!Same(copy.from, copy.to, plan.block_bytes))
      return Internal("{} of {}-byte blocks came out wrong: not timed", what, plan.block_bytes);
  }
  return Status::Ok();
}

Result<std::vector<Measured>> Probe::Gather(size_t block_bytes, std::span<const int> workers) {
  const BlockPlan plan = MakePlan(block_bytes, kRunBytes);
  NOSA_ASSIGN_OR_RETURN(const DevicePlan device, Upload(plan));
  std::vector<Measured> results;
  for (const int some : workers) {
    Scramble();
    RunGather(plan, device, 0, some, kMain);
    NOSA_RETURN_IF_ERROR(CheckPlan(plan, "the gather"));
    results.push_back(Time(plan.RunBytes(), [&](int run) { RunGather(plan, device, run, some, kMain); }));
  }
  return results;
}

Result<Measured> Probe::CopyEach(size_t block_bytes) {
  const BlockPlan plan = MakePlan(block_bytes, kCommandBytes);
  const auto copy = [&](int run) {
    for (int i = 0; i < plan.count; ++i) {
      const ops::BlockCopy& block = plan.Of(run)[i];
      NOSA_CUDA_CHECK(cudaMemcpyAsync(block.to, block.from, block_bytes, cudaMemcpyHostToDevice, main()));
    }
  };
  Scramble();
  copy(0);
  NOSA_RETURN_IF_ERROR(CheckPlan(plan, "a copy command each"));
  return Time(plan.RunBytes(), copy);
}

Result<Measured> Probe::CopyBatch(size_t block_bytes) {
#if CUDART_VERSION >= 12080
  int driver = 0;
  NOSA_CUDA_CHECK(cudaDriverGetVersion(&driver));
  if (driver < 12080)
    return Unimplemented("batched copies need a driver for CUDA 12.8, this one is for {}.{}", driver / 1000,
                         driver % 1000 / 10);
  const BlockPlan plan = MakePlan(block_bytes, kCommandBytes);
  std::vector<void*> to;
  std::vector<const void*> from;
  for (const ops::BlockCopy& copy : plan.copies) {
    to.push_back(copy.to);
    from.push_back(copy.from);
  }
  const auto count = static_cast<size_t>(plan.count);
  std::vector<size_t> sizes(count, block_bytes);
  cudaError_t error = cudaSuccess;
  const auto copy = [&](int run) {
    cudaMemcpyAttributes attributes = {};
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    size_t first = 0;
    const size_t at = static_cast<size_t>(run) * count;
#if CUDART_VERSION >= 13000
    error = cudaMemcpyBatchAsync(to.data() + at, from.data() + at, sizes.data(), count, &attributes, &first, 1, main());
#else
    size_t failed = 0;
    error = cudaMemcpyBatchAsync(to.data() + at, const_cast<void**>(from.data() + at), sizes.data(), count, &attributes,
                                 &first, 1, &failed, main());
#endif
  };
  Scramble();
  copy(0);
  if (error == cudaErrorNotSupported || error == cudaErrorCallRequiresNewerDriver) {
    cudaGetLastError();
    return Unimplemented("batched copies: {}", cudaGetErrorString(error));
  }
  NOSA_CUDA_CHECK(error);
  NOSA_RETURN_IF_ERROR(CheckPlan(plan, "a batched copy"));
  Measured measured = Time(plan.RunBytes(), copy);
  NOSA_CUDA_CHECK(error);
  return measured;
#else
  return Unimplemented("batched copies of {}-byte blocks need CUDA 12.8, this build has {}.{}", block_bytes,
                       CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
#endif
}

Status Probe::NeedWeights() {
  if (weights_.size() != 0) return Status::Ok();
  NOSA_ASSIGN_OR_RETURN(x_, backend_.Allocate(sizeof(float) * kMostRows * kMostInputs, MemoryKind::kDevice));
  NOSA_ASSIGN_OR_RETURN(y_, backend_.Allocate(sizeof(float) * kMostRows * kMostOutputs, MemoryKind::kDevice));
  NOSA_ASSIGN_OR_RETURN(weights_, backend_.Allocate(kWeightBytes, MemoryKind::kDevice));
  FillUniform(x_.as<float>(), x_.size() / sizeof(float), 1.0f, 3, main());
  FillUniform(weights_.as<BFloat16>(), kWeightBytes / sizeof(BFloat16), 0.02f, 4, main());
  backend_.Synchronize(kMain);
  return Status::Ok();
}

void Probe::RunProducts(const ProductShape& shape, int first, int count, ops::Stream stream) {
  const ConstTensorView x(x_.data(), DType::kF32, {shape.m, shape.k});
  for (int i = first; i < first + count; ++i) {
    const ops::ProductArgs::Term term = {Weight(shape, i), TensorView(y_.data(), DType::kF32, {shape.m, shape.n})};
    ops::product(backend_, stream,
                 {.x = x,
                  .terms = {&term, 1},
                  .mode = shape.rowwise ? ops::ProductArgs::Mode::kRowwise : ops::ProductArgs::Mode::kBatched});
  }
}

Status Probe::CheckProduct(const ProductShape& shape) {
  NOSA_CHECK(shape.m <= kMostRows && shape.k <= kMostInputs && shape.n <= kMostOutputs && WeightSlots(shape) > 1,
             "a product of {}x{}x{} has no room", shape.m, shape.n, shape.k);
  const auto k = static_cast<size_t>(shape.k);
  std::vector<float> x(k);
  std::vector<BFloat16> w(k);
  RunProducts(shape, 0, 1, kMain);
  for (const int64_t row : {int64_t{0}, shape.m - 1}) {
    for (const int64_t column : {int64_t{0}, shape.n / 2, shape.n - 1}) {
      float y = 0;
      backend_.Copy(x.data(), x_.as<float>() + row * shape.k, k * sizeof(float), kMain);
      backend_.Copy(w.data(), Weight(shape, 0).row<BFloat16>(column), k * sizeof(BFloat16), kMain);
      backend_.Copy(&y, y_.as<float>() + row * shape.n + column, sizeof y, kMain);
      backend_.Synchronize(kMain);
      double sum = 0, size = 0;
      for (size_t i = 0; i < k; ++i) {
        const double term = double{LoadFloat(w.data(), DType::kBF16, i)} * double{static_cast<float>(BFloat16(x[i]))};
        sum += term;
        size += std::abs(term);
      }
      // Sums of f32 in whatever order: far below this, and a wrong weight or row far above.
      if (!(std::abs(y - sum) <= 1e-4 * size))
        return Internal("product {}x{}x{} gave {} for {}: not timed", shape.m, shape.n, shape.k, y, sum);
    }
  }
  return Status::Ok();
}

Result<Measured> Probe::Products(const ProductShape& shape) {
  NOSA_RETURN_IF_ERROR(NeedWeights());
  NOSA_RETURN_IF_ERROR(CheckProduct(shape));
  const int count = kWalks * WeightSlots(shape);
  return Time(static_cast<double>(WeightBytes(shape)) * count, [&](int) { RunProducts(shape, 0, count, kMain); });
}

Result<TransferProbe::Overlap> Probe::GatherBesideProducts(size_t block_bytes, int workers, const ProductShape& shape) {
  NOSA_RETURN_IF_ERROR(NeedWeights());
  NOSA_RETURN_IF_ERROR(CheckProduct(shape));
  const BlockPlan plan = MakePlan(block_bytes, kOverlapBytes);
  NOSA_ASSIGN_OR_RETURN(const DevicePlan device, Upload(plan));
  Scramble();
  RunGather(plan, device, 0, workers, kMain);
  NOSA_RETURN_IF_ERROR(CheckPlan(plan, "the gather"));
  const double product_bytes = static_cast<double>(WeightBytes(shape)) * kOverlapProducts;
  Overlap overlap;
  const auto gather = [&](int run, ops::Stream stream) { RunGather(plan, device, run, workers, stream); };
  overlap.gather = Time(plan.RunBytes(), [&](int run) { gather(run, kMain); });
  overlap.products = Time(product_bytes, [&](int run) { RunProducts(shape, run, kOverlapProducts, kMain); });
  overlap.together = Time(plan.RunBytes() + product_bytes, [&](int run) {
    OnSide([&] {
      gather(run, kSide);
      RunProducts(shape, run, kOverlapProducts, kMain);
    });
  });
  return overlap;
}

Result<Measured> Probe::EmptyLaunches(int launches, bool graph) {
  const auto launch = [&] {
    for (int i = 0; i < launches; ++i) LaunchEmpty(main());
  };
  constexpr int kChains = 10;  // in one run, so that the start of one is not what is measured
  launch();
  std::unique_ptr<ops::Graph> recorded;
  if (graph) {
    backend_.BeginGraph(kMain);
    launch();
    NOSA_ASSIGN_OR_RETURN(recorded, backend_.EndGraph(kMain));
  }
  return Time(static_cast<double>(launches) * kChains, [&](int) {
    for (int i = 0; i < kChains; ++i) {
      if (graph) {
        backend_.Run(*recorded, kMain);
      } else {
        launch();
      }
    }
  });
}

}  // namespace

std::string Versions() {
  int runtime = 0, driver = 0;
  NOSA_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  NOSA_CUDA_CHECK(cudaDriverGetVersion(&driver));
  return fmt::format("CUDA {}.{}, driver for CUDA {}.{}", runtime / 1000, runtime % 1000 / 10, driver / 1000,
                     driver % 1000 / 10);
}

Result<Measured> MeasurePinning(ops::Backend& backend, Pinning how, size_t bytes, int repeats) {
  Measured measured = {.amount = static_cast<double>(bytes), .seconds = {}};
  for (int run = 0; run < repeats; ++run) {
    const Stopwatch watch;
    if (how == Pinning::kAllocate) {
      NOSA_ASSIGN_OR_RETURN(const Buffer buffer, backend.Allocate(bytes, MemoryKind::kPinned));
      measured.seconds.push_back(watch.Seconds());
      continue;
    }
    void* data = nullptr;
    const cudaError_t error = cudaHostAlloc(&data, bytes, cudaHostAllocDefault);
    if (error != cudaSuccess) {
      cudaGetLastError();
      return ResourceExhausted("cudaHostAlloc of {}: {}", FormatByteSize(bytes), cudaGetErrorString(error));
    }
    measured.seconds.push_back(watch.Seconds());
    NOSA_CUDA_CHECK(cudaFreeHost(data));
  }
  return measured;
}

Result<std::unique_ptr<TransferProbe>> TransferProbe::Create(ops::Backend& backend, int repeats) {
  auto probe = std::make_unique<Probe>(backend, repeats);
  NOSA_RETURN_IF_ERROR(probe->Init());
  return std::unique_ptr<TransferProbe>(std::move(probe));
}

}  // namespace nosa::cuda

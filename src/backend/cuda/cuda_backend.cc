#include "backend/cuda/cuda_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "backend/cuda/batched_product.h"
#include "backend/cuda/context.h"
#include "base/bytes.h"
#include "base/log.h"

namespace nosa::cuda {
namespace {

constexpr size_t kCublasWorkspace = size_t{32} << 20;  // what cuBLAS asks for on Hopper
constexpr size_t kAlignment = 256;

Status CudaError(cudaError_t error, std::string_view what) {
  return FailedPrecondition("{}: {}", what, cudaGetErrorString(error));
}

// Plans on their way to the device: pinned memory written by the host, and its copy on the device. A ring: bytes are
// used again only after the stream has passed the work that reads them.
class StagingRing {
 public:
  static constexpr size_t kBytes = size_t{8} << 20, kParts = 8, kPart = kBytes / kParts;

  void Init() {
    NOSA_CUDA_CHECK(cudaHostAlloc(reinterpret_cast<void**>(&host_), kBytes, cudaHostAllocDefault));
    NOSA_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&device_), kBytes));
    for (cudaEvent_t& event : passed_) NOSA_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  ~StagingRing() {
    if (host_ == nullptr) return;
    for (cudaEvent_t event : passed_) cudaEventDestroy(event);
    cudaFree(device_);
    cudaFreeHost(host_);
  }
  bool ready() const { return host_ != nullptr; }

  const void* Stage(const void* data, size_t bytes, cudaStream_t stream) {
    const size_t need = RoundUp(bytes, kAlignment);
    NOSA_CHECK(need <= kPart, "a plan of {} is larger than the staging part of {}", FormatByteSize(bytes),
               FormatByteSize(kPart));
    if (at_ % kPart + need > kPart) at_ = RoundUp(at_, kPart);
    if (at_ % kPart == 0) EnterPart(at_ / kPart % kParts, stream);
    at_ %= kBytes;
    std::byte* from = host_ + at_;
    std::byte* to = device_ + at_;
    std::memcpy(from, data, bytes);
    NOSA_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream));
    at_ += need;
    return to;
  }

 private:
  // The part before is complete once the stream passes here; the new one must have been passed a round ago.
  void EnterPart(size_t part, cudaStream_t stream) {
    if (started_) NOSA_CUDA_CHECK(cudaEventRecord(passed_[(part + kParts - 1) % kParts], stream));
    NOSA_CUDA_CHECK(cudaEventSynchronize(passed_[part]));
    started_ = true;
  }

  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  size_t at_ = 0;
  bool started_ = false;
  std::array<cudaEvent_t, kParts> passed_ = {};
};

// Plans that are too large for the ring, in device memory that grows with them. Slots are used in turn, in the order of
// the stream: when one comes round, the op that read it has been launched, for no op has so many plans.
class LargePlans {
 public:
  static constexpr size_t kSlots = 8;
  struct Slot {
    void* data = nullptr;
    size_t bytes = 0;
  };

  ~LargePlans() {
    for (Slot& slot : slots_) {
      if (slot.data != nullptr) cudaFree(slot.data);
    }
  }
  Slot& Next() { return slots_[next_++ % kSlots]; }

 private:
  std::array<Slot, kSlots> slots_;
  size_t next_ = 0;
};

class CudaGraph final : public ops::Graph {
 public:
  CudaGraph(cudaGraphExec_t exec, std::function<void()> gone) : exec_(exec), gone_(std::move(gone)) {}
  ~CudaGraph() override {
    cudaGraphExecDestroy(exec_);
    gone_();
  }
  cudaGraphExec_t exec() const { return exec_; }

 private:
  cudaGraphExec_t exec_;
  std::function<void()> gone_;
};

class CudaBackend final : public ops::Backend, public Context {
 public:
  explicit CudaBackend(const CudaOptions& options) : options_(options) {}
  ~CudaBackend() override {
    cudaDeviceSynchronize();
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
    FreeOldScratch();
    for (Lane& lane : lanes_) {
      if (lane.cublas_workspace != nullptr) cudaFree(lane.cublas_workspace);
      for (const Slab& slab : {lane.scratch, lane.counters}) {
        if (slab.data != nullptr) cudaFree(slab.data);
      }
      if (lane.stream != nullptr) cudaStreamDestroy(lane.stream);
    }
    if (cublas_ != nullptr) cublasLtDestroy(cublas_);
  }

  Status Init();

  // ops::Backend
  std::string_view name() const override { return "cuda"; }
  std::string Describe() const override {
    return fmt::format("{}, {} multiprocessors, {}", properties_.name, properties_.multiProcessorCount,
                       FormatByteSize(memory_.limit_bytes));
  }
  const ops::OpTable& table() const override {
    static constexpr ops::OpTable kTable = {
#define NOSA_OP(name, Args) .name = &cuda::name,
#include "ops/ops.def"
#undef NOSA_OP
    };
    return kTable;
  }
  int threads() const override { return properties_.multiProcessorCount; }
  MemoryKind compute_memory() const override { return MemoryKind::kDevice; }
  MemoryKind shared_memory() const override { return MemoryKind::kPinned; }
  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override;
  uint64_t Available(MemoryKind kind) const override {
    if (kind != MemoryKind::kDevice) return UINT64_MAX;
    size_t free = 0, total = 0;
    NOSA_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return std::min<uint64_t>(free, memory_.limit_bytes - memory_.used_bytes);
  }
  void Copy(void* to, const void* from, size_t bytes, ops::Stream stream) override {
    NOSA_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, this->stream(stream)));
  }
  ops::Event Record(ops::Stream stream) override;
  bool Done(ops::Event event) override {
    if (WaitedForStale(event)) return true;
    const cudaError_t state = cudaEventQuery(EventOf(event));
    if (state == cudaErrorNotReady) return false;
    NOSA_CUDA_CHECK(state);
    return true;
  }
  void Wait(ops::Event event) override {
    if (!WaitedForStale(event)) NOSA_CUDA_CHECK(cudaEventSynchronize(EventOf(event)));
  }
  void WaitOn(ops::Stream stream, ops::Event event) override {
    if (WaitedForStale(event)) return;
    NOSA_CUDA_CHECK(cudaStreamWaitEvent(this->stream(stream), EventOf(event)));
  }
  void AfterOp(std::string_view op, ops::Stream stream) override {
    if (!options_.blocking || recording_) return;
    const cudaError_t error = cudaStreamSynchronize(this->stream(stream));
    NOSA_CHECK(error == cudaSuccess, "CUDA: {}: {}", op, cudaGetErrorString(error));
  }
  bool records_graphs() const override { return true; }
  void BeginGraph(ops::Stream stream) override {
    recording_ = true;
    NOSA_CUDA_CHECK(cudaStreamBeginCapture(this->stream(stream), cudaStreamCaptureModeThreadLocal));
  }
  Result<std::unique_ptr<ops::Graph>> EndGraph(ops::Stream stream) override;
  void Run(ops::Graph& graph, ops::Stream stream) override {
    NOSA_CUDA_CHECK(cudaGraphLaunch(static_cast<CudaGraph&>(graph).exec(), this->stream(stream)));
  }

  void* native_stream(ops::Stream stream) override { return this->stream(stream); }

  // Context
  cudaStream_t stream(ops::Stream stream) override { return lanes_[static_cast<size_t>(stream.index)].stream; }
  int multiprocessors() const override { return properties_.multiProcessorCount; }
  void* Scratch(size_t bytes, ops::Stream stream) override {
    Lane& lane = lanes_[static_cast<size_t>(stream.index)];
    return Grown(bytes, lane, &lane.scratch);
  }
  int32_t* Counters(size_t count, ops::Stream stream) override {
    Lane& lane = lanes_[static_cast<size_t>(stream.index)];
    return static_cast<int32_t*>(Grown(count * sizeof(int32_t), lane, &lane.counters));
  }
  cublasLtHandle_t cublas() override { return cublas_; }
  void* cublas_workspace(ops::Stream stream) override {
    return lanes_[static_cast<size_t>(stream.index)].cublas_workspace;
  }
  size_t cublas_workspace_bytes() const override { return kCublasWorkspace; }
  BatchedProduct& batched_product() override { return batched_product_; }

  const DeviceMemory& memory() const { return memory_; }
  void ReleasePinned(void* data, size_t bytes);
  void Charge(uint64_t bytes) {
    memory_.used_bytes += bytes;
    memory_.peak_bytes = std::max(memory_.peak_bytes, memory_.used_bytes);
  }
  void Release(uint64_t bytes) { memory_.used_bytes -= bytes; }

 protected:
  const void* StageBytes(const void* data, size_t bytes, ops::Stream stream) override;

 private:
  struct Slab {
    void* data = nullptr;
    size_t bytes = 0;
  };
  // One stream and what only its work uses.
  struct Lane {
    cudaStream_t stream = nullptr;
    void* cublas_workspace = nullptr;
    Slab scratch, counters;
    StagingRing staging;
    LargePlans large_plans;
  };

  void* Grown(size_t bytes, const Lane& lane, Slab* slab);
  void FreeOldScratch();
  cudaEvent_t EventOf(ops::Event event) const { return events_[event.value % events_.size()]; }
  // An event whose place in the ring another has taken, perhaps one of a recorded graph: long past, but to be sure all
  // work is waited for.
  bool WaitedForStale(ops::Event event) {
    if (next_event_ - event.value <= events_.size()) return false;
    NOSA_CHECK(!recording_, "an event of long ago while a graph is recorded");
    NOSA_CUDA_CHECK(cudaDeviceSynchronize());
    return true;
  }
  const void* StageLarge(const void* data, size_t bytes, Lane& lane);
  bool Fits(uint64_t bytes) const { return bytes <= memory_.limit_bytes - memory_.used_bytes; }
  Result<Buffer> AllocatePinned(size_t bytes);
  cudaError_t Pin(void* data, size_t bytes) const {
    if (options_.pinned_limit_bytes != 0 && pinned_bytes_ + bytes > options_.pinned_limit_bytes)
      return cudaErrorMemoryAllocation;
    return cudaHostRegister(data, bytes, cudaHostRegisterDefault);
  }
  // Memory of AllocatePinned that is not pinned, but that the device reads all the same.
  bool IsPageable(const void* data) const {
    const auto after = pageable_.upper_bound(static_cast<const std::byte*>(data));
    if (after == pageable_.begin()) return false;
    const auto& [begin, bytes] = *std::prev(after);
    return static_cast<const std::byte*>(data) < begin + bytes;
  }

  CudaOptions options_;
  cudaDeviceProp properties_ = {};
  cublasLtHandle_t cublas_ = nullptr;
  BatchedProduct batched_product_;
  std::array<Lane, ops::kStreams> lanes_;
  std::vector<cudaEvent_t> events_;  // a ring: an Event is meant to be used soon
  uint64_t next_event_ = 0;
  DeviceMemory memory_;
  uint64_t pinned_bytes_ = 0;
  std::map<const std::byte*, size_t> pageable_;
  bool recording_ = false;
  int graphs_ = 0;  // that exist: they hold addresses of the scratch memory of their time, which is kept for them
  std::vector<std::pair<void*, size_t>> old_scratch_;
};

Status CudaBackend::Init() {
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess) return CudaError(found, "no GPU can be used");
  if (options_.device >= devices) {
    return FailedPrecondition("GPU {} was asked for, this machine has {}", options_.device, devices);
  }
  NOSA_CUDA_CHECK(cudaGetDeviceProperties(&properties_, options_.device));
  if (properties_.major < 8) {
    return FailedPrecondition("{} has compute capability {}.{}, 8.0 is the least that is supported", properties_.name,
                              properties_.major, properties_.minor);
  }
  NOSA_CUDA_CHECK(cudaSetDevice(options_.device));
  size_t free = 0, total = 0;
  NOSA_CUDA_CHECK(cudaFree(nullptr));  // makes the context
  for (Lane& lane : lanes_) NOSA_CUDA_CHECK(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking));
  NOSA_CHECK(cublasLtCreate(&cublas_) == CUBLAS_STATUS_SUCCESS, "cuBLAS does not start");
  events_.resize(4096);
  for (cudaEvent_t& event : events_) NOSA_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  NOSA_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  for (Lane& lane : lanes_) {
    NOSA_CUDA_CHECK(cudaMalloc(&lane.cublas_workspace, kCublasWorkspace));
    lane.staging.Init();
  }
  // What other processes hold, take and give back cannot be told from what the driver takes for this one; a context
  // takes about this much.
  constexpr uint64_t kContextBytes = uint64_t{640} << 20;
  memory_.driver_bytes = std::min<uint64_t>(total - free, kContextBytes) + (kCublasWorkspace + StagingRing::kBytes) * lanes_.size();
  memory_.limit_bytes = total;
  if (options_.memory_limit_bytes != 0) memory_.limit_bytes = std::min<uint64_t>(total, options_.memory_limit_bytes);
  if (memory_.driver_bytes > memory_.limit_bytes) {
    return ResourceExhausted("the GPU memory limit is {}, the driver alone takes {}",
                             FormatByteSize(memory_.limit_bytes), FormatByteSize(memory_.driver_bytes));
  }
  Charge(memory_.driver_bytes);
  return Status::Ok();
}

// Carried by a device buffer back to its backend.
void FreeDevice(void* data, size_t bytes, void* context) {
  NOSA_CUDA_CHECK(cudaFree(data));
  static_cast<CudaBackend*>(context)->Release(bytes);
}

void FreePinned(void* data, size_t bytes, void* context) {
  NOSA_CUDA_CHECK(cudaDeviceSynchronize());  // unlike cudaFree, unpinning does not wait for who still reads
  static_cast<CudaBackend*>(context)->ReleasePinned(data, bytes);
  munmap(data, bytes);
}

void CudaBackend::ReleasePinned(void* data, size_t bytes) {
  if (pageable_.erase(static_cast<const std::byte*>(data)) > 0) return;
  NOSA_CUDA_CHECK(cudaHostUnregister(data));
  pinned_bytes_ -= bytes;
}

Result<Buffer> CudaBackend::Allocate(size_t bytes, MemoryKind kind) {
  if (bytes == 0) return Buffer();
  if (kind == MemoryKind::kHost) return Buffer::Host(bytes, 4096);
  if (kind == MemoryKind::kPinned) return AllocatePinned(bytes);
  const size_t size = RoundUp(bytes, kAlignment);
  if (!Fits(size)) {
    return ResourceExhausted("expected {} of GPU memory, {} of {} is left", FormatByteSize(size),
                             FormatByteSize(memory_.limit_bytes - memory_.used_bytes),
                             FormatByteSize(memory_.limit_bytes));
  }
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, size);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // so that the next check does not find it
    return ResourceExhausted("the GPU has no {} left", FormatByteSize(size));
  }
  NOSA_CUDA_CHECK(error);
  NOSA_CUDA_CHECK(cudaMemsetAsync(data, 0, size, lanes_[0].stream));
  NOSA_CUDA_CHECK(cudaStreamSynchronize(lanes_[0].stream));
  Charge(size);
  return Buffer(data, size, MemoryKind::kDevice, FreeDevice, this);
}

// Pinning pages one by one costs far more than pinning memory that is there already: huge pages, touched by many
// threads, then registered at once.
Result<Buffer> CudaBackend::AllocatePinned(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t size = RoundUp(bytes, bytes >= kHugePage ? kHugePage : 4096);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return ResourceExhausted("the system has no {} of memory", FormatByteSize(size));
  madvise(data, size, MADV_HUGEPAGE);
  const size_t threads = std::clamp<size_t>(size / (size_t{64} << 20), 1, std::thread::hardware_concurrency());
  const auto touch = [&](size_t part) {
    volatile char* at = static_cast<char*>(data);
    for (size_t i = size * part / threads; i < size * (part + 1) / threads; i += 4096) at[i] = 0;
  };
  std::vector<std::thread> workers;
  for (size_t i = 1; i < threads; ++i) workers.emplace_back(touch, i);
  touch(0);
  for (std::thread& worker : workers) worker.join();
  const cudaError_t error = Pin(data, size);
  if (error == cudaSuccess) {
    pinned_bytes_ += size;
    return Buffer(data, size, MemoryKind::kPinned, FreePinned, this);
  }
  cudaGetLastError();  // so that the next check does not find it
  int reads_pageable = 0;
  NOSA_CUDA_CHECK(cudaDeviceGetAttribute(&reads_pageable, cudaDevAttrPageableMemoryAccess, options_.device));
  if (reads_pageable != 0) {
    if (pageable_.empty()) {
      LogWarn(
          "{} of memory could be pinned, {} more could not ({}): the GPU reads the rest page by page, which is several "
          "times slower",
          FormatByteSize(pinned_bytes_), FormatByteSize(size), cudaGetErrorString(error));
    }
    pageable_[static_cast<const std::byte*>(data)] = size;
    return Buffer(data, size, MemoryKind::kPinned, FreePinned, this);
  }
  munmap(data, size);
  return ResourceExhausted(
      "{} of memory could be pinned, {} more could not ({}), and this GPU reads no other memory: keep less KV in RAM, "
      "or raise the limit on locked memory (ulimit -l)",
      FormatByteSize(pinned_bytes_), FormatByteSize(size), cudaGetErrorString(error));
}

ops::Event CudaBackend::Record(ops::Stream stream) {
  const ops::Event event = {next_event_++};
  NOSA_CUDA_CHECK(cudaEventRecord(EventOf(event), this->stream(stream)));
  return event;
}

Result<std::unique_ptr<ops::Graph>> CudaBackend::EndGraph(ops::Stream stream) {
  cudaGraph_t graph = nullptr;
  NOSA_CUDA_CHECK(cudaStreamEndCapture(this->stream(stream), &graph));
  recording_ = false;
  cudaGraphExec_t exec = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphDestroy(graph);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return ResourceExhausted("the GPU has no memory left for a recorded step");
  }
  NOSA_CUDA_CHECK(error);
  ++graphs_;
  return std::unique_ptr<ops::Graph>(std::make_unique<CudaGraph>(exec, [this] {
    if (--graphs_ == 0) FreeOldScratch();
  }));
}

// A new slab is zeroed, which only counters need.
void* CudaBackend::Grown(size_t bytes, const Lane& lane, Slab* slab) {
  if (slab->bytes >= bytes) return slab->data;
  NOSA_CHECK(!recording_, "scratch memory grows to {} while a graph is recorded", FormatByteSize(bytes));
  const size_t size = RoundUp(bytes + bytes / 4, size_t{1} << 20);
  NOSA_CHECK(Fits(size - (graphs_ == 0 ? slab->bytes : 0)), "scratch of {} does not fit the GPU memory limit of {}",
             FormatByteSize(size), FormatByteSize(memory_.limit_bytes));
  NOSA_CUDA_CHECK(cudaStreamSynchronize(lane.stream));
  if (slab->data != nullptr) old_scratch_.push_back({slab->data, slab->bytes});
  if (graphs_ == 0) FreeOldScratch();
  NOSA_CUDA_CHECK(cudaMalloc(&slab->data, size));
  NOSA_CUDA_CHECK(cudaMemsetAsync(slab->data, 0, size, lane.stream));
  Charge(size);
  slab->bytes = size;
  return slab->data;
}

void CudaBackend::FreeOldScratch() {
  for (const auto& [data, bytes] : old_scratch_) {
    NOSA_CUDA_CHECK(cudaFree(data));
    Release(bytes);
  }
  old_scratch_.clear();
}

const void* CudaBackend::StageBytes(const void* data, size_t bytes, ops::Stream stream) {
  if (!pageable_.empty() && IsPageable(data)) return data;
  cudaPointerAttributes attributes = {};
  NOSA_CUDA_CHECK(cudaPointerGetAttributes(&attributes, data));
  if (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeHost) {
    return attributes.devicePointer;
  }
  NOSA_CHECK(!recording_, "a plan of {} lies where a recorded graph cannot read it", FormatByteSize(bytes));
  Lane& lane = lanes_[static_cast<size_t>(stream.index)];
  if (bytes > StagingRing::kPart) return StageLarge(data, bytes, lane);
  return lane.staging.Stage(data, bytes, lane.stream);
}

const void* CudaBackend::StageLarge(const void* data, size_t bytes, Lane& lane) {
  LargePlans::Slot& slot = lane.large_plans.Next();
  if (slot.bytes < bytes) {
    const size_t size = RoundUp(bytes + bytes / 4, size_t{1} << 20);
    NOSA_CHECK(Fits(size - slot.bytes), "a plan of {} does not fit the GPU memory limit of {}", FormatByteSize(size),
               FormatByteSize(memory_.limit_bytes));
    NOSA_CUDA_CHECK(cudaStreamSynchronize(lane.stream));
    if (slot.data != nullptr) NOSA_CUDA_CHECK(cudaFree(slot.data));
    NOSA_CUDA_CHECK(cudaMalloc(&slot.data, size));
    Charge(size - slot.bytes);
    slot.bytes = size;
  }
  // From pageable memory: it has been read when the call returns.
  NOSA_CUDA_CHECK(cudaMemcpyAsync(slot.data, data, bytes, cudaMemcpyHostToDevice, lane.stream));
  return slot.data;
}

}  // namespace

Context& ContextOf(ops::Backend& backend) {
  NOSA_DCHECK(backend.name() == "cuda", "a CUDA op was called through the {} backend", backend.name());
  return static_cast<CudaBackend&>(backend);
}

Result<std::unique_ptr<ops::Backend>> MakeCudaBackend(const CudaOptions& options) {
  auto backend = std::make_unique<CudaBackend>(options);
  NOSA_RETURN_IF_ERROR(backend->Init());
  return std::unique_ptr<ops::Backend>(std::move(backend));
}

DeviceMemory MemoryOf(ops::Backend& backend) { return static_cast<CudaBackend&>(backend).memory(); }

}  // namespace nosa::cuda

// nosa bench transfer: what this GPU, its host and the way between them give, which is what every plan to keep KV
// elsewhere is made of.
#include <memory>
#include <optional>

#include "apps/bench.h"
#include "apps/disk_rate.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/table.h"
#if NOSA_HAS_CUDA
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/probe.h"
#endif
#include "base/bytes.h"

namespace nosa::apps {
namespace {

struct TransferFlags {
  CommonFlags common;
  int repeats = 9;
};

#if NOSA_HAS_CUDA

struct TransferRow {
  std::string what;
  uint64_t bytes = 0;  // of one copy, block or weight matrix; 0: none
  int workers = 0;     // of a gather; 0: none
  double amount = 0;   // of one run: bytes, or what is timed
  Spread seconds;      // of one run
  bool timed = false;  // microseconds, not bytes a second, are what matters
};

// Rows with one thing in common, and what it says.
struct TransferGroup {
  std::string title, explanation;
  std::vector<TransferRow> rows;
  std::vector<std::string> left_out;  // what could not be measured here, and why
};

// K, V and s of a block of 64 tokens with heads of 128, in bf16: what a decode step fetches.
constexpr size_t kFrameBytes = 2 * 64 * 128 * 2 + 64 * 4;

class Measurement {
 public:
  Measurement(ops::Backend& backend, const TransferFlags& flags) : backend_(backend), flags_(flags) {}

  Status Run();
  const std::vector<TransferGroup>& groups() const { return groups_; }

 private:
  void Begin(std::string title, std::string explanation) {
    groups_.push_back({std::move(title), std::move(explanation), {}, {}});
  }
  Status Add(std::string what, uint64_t bytes, int workers, const cuda::Measured& measured, bool timed = false) {
    TransferRow row = {std::move(what), bytes, workers, measured.amount, SpreadOf(measured.seconds), timed};
    NOSA_RETURN_IF_ERROR(CheckMeasured(row.seconds.median, row.what));
    groups_.back().rows.push_back(std::move(row));
    return Status::Ok();
  }
  // What a machine may lack is left out, and said.
  Status AddOr(std::string what, uint64_t bytes, const Result<cuda::Measured>& measured) {
    if (measured.ok()) return Add(std::move(what), bytes, 0, *measured);
    const StatusCode code = measured.status().code();
    if (code != StatusCode::kUnimplemented && code != StatusCode::kResourceExhausted) return measured.status();
    groups_.back().left_out.push_back(fmt::format("{} is left out: {}", what, measured.status().message()));
    return Status::Ok();
  }

  Status Pinning();
  Status Disk();
  Status DeviceMemory();
  Status Engine(MemoryKind host);
  Status Gathers();
  Status Commands();
  Status Products();
  Status Overlaps();
  Status Launches();

  ops::Backend& backend_;
  const TransferFlags& flags_;
  std::unique_ptr<cuda::TransferProbe> probe_;
  std::vector<TransferGroup> groups_;
};

Status Measurement::Pinning() {
  Begin("Pinning", "how fast host memory is page-locked, which the copies below need: once, at the start");
  constexpr int kTimes = 3;  // seconds each
  NOSA_RETURN_IF_ERROR(AddOr("as the program does it", 4 * kGiB,
                             cuda::MeasurePinning(backend_, cuda::Pinning::kAllocate, 4 * kGiB, kTimes)));
  return AddOr("cudaHostAlloc", 2 * kGiB, cuda::MeasurePinning(backend_, cuda::Pinning::kHostAlloc, 2 * kGiB, kTimes));
}

Status Measurement::Disk() {
  if (!flags_.common.kv_disk) return Status::Ok();
  NOSA_ASSIGN_OR_RETURN(const DiskRate rate, MeasureDiskRate(*flags_.common.kv_disk, 4 * kGiB, 3));
  Begin("Disk", rate.direct ? "a file read from end to end, past the page cache: prompts restored from disk"
                            : "a file read from end to end; this file system has no O_DIRECT, so it may come from RAM");
  return Add("sequential read", rate.bytes, 0, {static_cast<double>(rate.bytes), rate.seconds});
}

Status Measurement::DeviceMemory() {
  Begin("Device memory", "bytes read and written by a copy: the ceiling of every kernel bound by memory");
  NOSA_ASSIGN_OR_RETURN(const cuda::Measured copy, probe_->DeviceCopy());
  return Add("copy", cuda::TransferProbe::kDeviceBytes / 2, 0, copy);
}

Status Measurement::Engine(MemoryKind host) {
  if (host == MemoryKind::kPinned) {
    Begin("Copy engine, pinned", "whole pages, as prefill writes them out and a restored prompt reads them");
  } else {
    Begin("Copy engine, pageable", "the same from memory that is not pinned: the price when pinning is refused");
  }
  struct Way {
    cuda::Direction direction;
    std::string_view name;
  };
  for (const Way& way :
       {Way{cuda::Direction::kToDevice, "host to device"}, Way{cuda::Direction::kFromDevice, "device to host"},
        Way{cuda::Direction::kBoth, "both ways at once"}}) {
    for (const uint64_t bytes : {kMiB, 16 * kMiB, 256 * kMiB}) {
      NOSA_ASSIGN_OR_RETURN(const cuda::Measured copies, probe_->EngineCopy(way.direction, host, bytes));
      const std::string_view kind = host == MemoryKind::kPinned ? "pinned" : "pageable";
      NOSA_RETURN_IF_ERROR(Add(fmt::format("{}, {}", way.name, kind), bytes, 0, copies));
    }
  }
  return Status::Ok();
}

Status Measurement::Gathers() {
  Begin("Gather", "a kernel that reads blocks at random places of pinned memory: what a decode step misses");
  constexpr int kWorkers[] = {4, 8, 16, 32, 66};
  for (const size_t bytes : {size_t{4} << 10, size_t{16} << 10, kFrameBytes, size_t{64} << 10}) {
    NOSA_ASSIGN_OR_RETURN(const std::vector<cuda::Measured> gathers, probe_->Gather(bytes, kWorkers));
    for (size_t i = 0; i < gathers.size(); ++i) NOSA_RETURN_IF_ERROR(Add("gather", bytes, kWorkers[i], gathers[i]));
  }
  return Status::Ok();
}

Status Measurement::Commands() {
  Begin("Copy commands", "the same blocks by copy commands: what the gather is there to avoid");
  for (const size_t bytes : {size_t{16} << 10, size_t{32} << 10, size_t{64} << 10}) {
    NOSA_ASSIGN_OR_RETURN(const cuda::Measured each, probe_->CopyEach(bytes));
    NOSA_RETURN_IF_ERROR(Add("one cudaMemcpyAsync a block", bytes, 0, each));
    NOSA_RETURN_IF_ERROR(AddOr("one cudaMemcpyBatchAsync", bytes, probe_->CopyBatch(bytes)));
  }
  return Status::Ok();
}

std::string ShapeName(const cuda::ProductShape& shape) {
  return fmt::format("product {}x{}x{}, {}", shape.m, shape.n, shape.k, shape.rowwise ? "row-wise" : "cuBLAS");
}

uint64_t WeightBytes(const cuda::ProductShape& shape) { return static_cast<uint64_t>(shape.n * shape.k) * 2; }

Status Measurement::Products() {
  Begin("Decode products", "bytes of bf16 weights a second (rows x outputs x inputs); row-wise is what decode runs");
  struct Sides {
    int64_t n, k;
  };
  constexpr int64_t kFewRows = 8;  // up to here there is one kind of product
  for (const Sides& sides : {Sides{28672, 4096}, Sides{4096, 14336}}) {
    for (const int64_t m : {1, 8, 32, 64}) {
      for (const bool rowwise : {true, false}) {
        if (!rowwise && m <= kFewRows) continue;
        const cuda::ProductShape shape = {.m = m, .n = sides.n, .k = sides.k, .rowwise = rowwise};
        NOSA_ASSIGN_OR_RETURN(const cuda::Measured products, probe_->Products(shape));
        NOSA_RETURN_IF_ERROR(Add(ShapeName(shape), WeightBytes(shape), 0, products));
      }
    }
  }
  return Status::Ok();
}

Status Measurement::Overlaps() {
  Begin("Gather beside products",
        "two streams: each alone, then both; where the two overlap, together takes little more than the longer one");
  for (const bool rowwise : {true, false}) {
    const cuda::ProductShape shape = {.m = 64, .n = 28672, .k = 4096, .rowwise = rowwise};
    for (const int workers : {8, 16, 32}) {
      NOSA_ASSIGN_OR_RETURN(const cuda::TransferProbe::Overlap overlap,
                            probe_->GatherBesideProducts(kFrameBytes, workers, shape));
      const std::string blocks =
          fmt::format("gather of {}", FormatByteSize(static_cast<uint64_t>(overlap.gather.amount)));
      const double count = overlap.products.amount / static_cast<double>(WeightBytes(shape));
      const std::string name = fmt::format("{:.0f} times {}", count, ShapeName(shape));
      NOSA_RETURN_IF_ERROR(Add(blocks, kFrameBytes, workers, {1, overlap.gather.seconds}, true));
      NOSA_RETURN_IF_ERROR(Add(name, WeightBytes(shape), 0, {1, overlap.products.seconds}, true));
      NOSA_RETURN_IF_ERROR(
          Add(name + ", and gather", WeightBytes(shape), workers, {1, overlap.together.seconds}, true));
    }
  }
  return Status::Ok();
}

Status Measurement::Launches() {
  Begin("Launches", "an empty kernel, in a chain of 400: what a step of many small kernels costs at least");
  for (const bool graph : {true, false}) {
    NOSA_ASSIGN_OR_RETURN(const cuda::Measured launches, probe_->EmptyLaunches(400, graph));
    NOSA_RETURN_IF_ERROR(Add(graph ? "in a graph" : "launched one by one", 0, 0, launches, true));
  }
  return Status::Ok();
}

Status Measurement::Run() {
  // Pinning first, while the memory that the others keep is still free.
  const std::function<Status()> parts[] = {
      [this] { return Pinning(); },
      [this] { return Disk(); },
      [this]() -> Status {
        NOSA_ASSIGN_OR_RETURN(probe_, cuda::TransferProbe::Create(backend_, flags_.repeats));
        return DeviceMemory();
      },
      [this] { return Engine(MemoryKind::kPinned); },
      [this] { return Gathers(); },
      [this] { return Commands(); },
      [this] { return Engine(MemoryKind::kHost); },
      [this] { return Products(); },
      [this] { return Overlaps(); },
      [this] { return Launches(); },
  };
  Progress progress({.what = "measuring",
                     .unit = "parts",
                     .total = static_cast<int64_t>(std::size(parts)),
                     .enabled = !flags_.common.quiet && !flags_.common.json});
  int64_t done = 0;
  for (const auto& part : parts) {
    NOSA_RETURN_IF_ERROR(part());
    if (Interrupted()) return Cancelled("interrupted, nothing is reported");
    progress.Update(++done);
  }
  return Status::Ok();
}

// What is reported of a row: billions of bytes a second, or microseconds.
Spread ValueOf(const TransferRow& row) {
  const Spread& s = row.seconds;
  if (row.timed) return {s.median * 1e6 / row.amount, s.low * 1e6 / row.amount, s.high * 1e6 / row.amount};
  return {row.amount / s.median / 1e9, row.amount / s.high / 1e9, row.amount / s.low / 1e9};
}

void PrintGroup(const TransferGroup& group) {
  Print(fmt::format("\n{}: {}\n", group.title, group.explanation));
  const bool timed = !group.rows.empty() && group.rows.front().timed;
  Table table({"what", "each", "workers", timed ? "us" : "GB/s", "min", "max", "run ms"});
  for (const TransferRow& row : group.rows) {
    const Spread value = ValueOf(row);
    table.Row({row.what, row.bytes == 0 ? "-" : FormatByteSize(row.bytes),
               row.workers == 0 ? "-" : fmt::format("{}", row.workers), fmt::format("{:.2f}", value.median),
               fmt::format("{:.2f}", value.low), fmt::format("{:.2f}", value.high),
               fmt::format("{:.2f}", row.seconds.median * 1e3)});
  }
  if (!table.empty()) Print(table.ToString());
  for (const std::string& line : group.left_out) Print(line + "\n");
}

io::OrderedJson RowJson(const TransferGroup& group, const TransferRow& row) {
  const Spread value = ValueOf(row);
  io::OrderedJson json = {{"group", group.title}, {"what", row.what}, {"bytes", row.bytes}, {"workers", row.workers}};
  json[row.timed ? "us" : "gb_s"] = value.median;
  json["min"] = value.low;
  json["max"] = value.high;
  json["run_ms"] = row.seconds.median * 1e3;
  return json;
}

Status BenchTransfer(const TransferFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<ops::Backend> backend,
                        cuda::MakeCudaBackend({.memory_limit_bytes = flags.common.gpu_memory.value_or(0)}));
  Measurement measurement(*backend, flags);
  NOSA_RETURN_IF_ERROR(measurement.Run());
  if (!flags.common.json) {
    Print(fmt::format("{}; {}\nGB = 1e9 bytes; medians of {} runs, with the slowest and the fastest\n",
                      backend->Describe(), cuda::Versions(), flags.repeats));
    for (const TransferGroup& group : measurement.groups()) PrintGroup(group);
    return Status::Ok();
  }
  io::OrderedJson json;
  json["benchmark"] = "transfer";
  json["device"] = backend->Describe();
  json["versions"] = cuda::Versions();
  json["repeats"] = flags.repeats;
  json["rows"] = io::OrderedJson::array();
  json["left_out"] = io::OrderedJson::array();
  for (const TransferGroup& group : measurement.groups()) {
    for (const TransferRow& row : group.rows) json["rows"].push_back(RowJson(group, row));
    for (const std::string& line : group.left_out) json["left_out"].push_back(line);
  }
  PrintJson(json);
  return Status::Ok();
}

#else

Status BenchTransfer(const TransferFlags&) {
  return FailedPrecondition("what is measured is a GPU, and the CUDA backend is not built in");
}

#endif

}  // namespace

void AddBenchTransfer(Command command) {
  auto flags = std::make_shared<TransferFlags>();
  AddCommonFlags(command, &flags->common, {.model = false, .attention = false, .backend = false, .kv = false});
  AddDiskFlag(command, &flags->common, "also read a file there from end to end");
  command.Int("--repeats", &flags->repeats, 1, "times each is measured");
  command.Does([flags] { return BenchTransfer(*flags); });
}

}  // namespace nosa::apps

// nosa bench ops: the operations that decide speed, each against what bounds it on this machine. An op is timed only
// after its result agreed with its scalar twin. Those of a GPU: bench_device_ops.cc.
#include <cmath>
#include <functional>
#include <memory>

#include "apps/bench.h"
#include "apps/bench_device_ops.h"
#include "apps/report.h"
#include "apps/table.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/probe.h"
#include "base/clock.h"
#include "ops/block_attention.h"
#include "ops/draw_tokens.h"
#include "ops/product.h"
#include "ops/reference/reference_backend.h"
#include "ops/reset_states.h"
#include "ops/topk_blocks.h"
#include "ops/window_scores.h"

namespace nosa::apps {
namespace {

struct OpsFlags {
  CommonFlags common;
  int repeats = 9;
};

// What the machine gives at most, measured in this run.
struct Limits {
  double bytes_per_s = 0;
  double bf16_flops = 0, f32_flops = 0;  // oneDNN, its own weight layout
};

struct OpRow {
  std::string name;
  std::string bound;  // what it is compared with
  Spread seconds;
  ops::OpCost cost;
  double share = 0;
};

Spread Time(int repeats, const std::function<void(int)>& run) {
  run(0);
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const Stopwatch watch;
    run(i);
    seconds.push_back(watch.Seconds());
  }
  return SpreadOf(seconds);
}

double LargestDifference(const float* a, const float* b, int64_t n) {
  double worst = 0;
  for (int64_t i = 0; i < n; ++i) worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
  return worst;
}

// Products of `m` rows with bf16 or f32 weights [n, k], over several copies of the weights so that none is in a cache.
Result<OpRow> BenchProduct(ops::Backend& backend, const OpsFlags& flags, const Limits& limits, DType dtype, int64_t m,
                           int64_t n, int64_t k) {
  const bool batched = m >= 64;
  const int copies = batched ? 2
                             : std::max<int>(2, static_cast<int>((int64_t{512} << 20) /
                                                                 (n * k * static_cast<int64_t>(DTypeBytes(dtype)))));
  const Buffer weights = RandomBuffer(dtype, n * k * copies, 1, 1.0f / std::sqrt(static_cast<float>(k)));
  const Buffer x = RandomBuffer(DType::kF32, m * k, 2, 1.0f);
  const Buffer y = Buffer::Host(static_cast<size_t>(m * n) * sizeof(float)),
               expected = Buffer::Host(static_cast<size_t>(m * n) * sizeof(float));
  const auto mode = batched ? ops::ProductArgs::Mode::kBatched : ops::ProductArgs::Mode::kRowwise;
  const auto weight = [&](int i) {
    return ConstTensorView(weights.data() + static_cast<size_t>(n * k * i) * DTypeBytes(dtype), dtype, {n, k});
  };
  // The twin on two rows is enough to see a wrong product, and takes no minute.
  const int64_t checked = std::min<int64_t>(m, 2);
  const ops::ProductArgs::Term term = {weight(0), y.View(DType::kF32, {m, n})};
  const ops::ProductArgs::Term twin = {weight(0), expected.View(DType::kF32, {checked, n})};
  const auto reference = ops::reference::MakeReferenceBackend();
  ops::product(*reference, {}, {.x = x.View(DType::kF32, {checked, k}), .terms = {&twin, 1}, .mode = mode});
  ops::product(backend, {}, {.x = x.View(DType::kF32, {m, k}), .terms = {&term, 1}, .mode = mode});
  const double worst = LargestDifference(y.as<float>(), expected.as<float>(), checked * n);
  if (!(worst < 1e-3)) return Internal("product {}x{}x{} differs from its twin by {}: not timed", m, n, k, worst);

  OpRow row;
  row.name = fmt::format("product {} {}x{}x{}", DTypeName(dtype), m, n, k);
  const ops::ProductArgs args = {.x = x.View(DType::kF32, {m, k}), .terms = {&term, 1}, .mode = mode};
  row.cost = ops::Cost(args);
  if (batched) {
    row.seconds = Time(flags.repeats, [&](int) { ops::product(backend, {}, args); });
    row.bound = "oneDNN, own layout";
    const double peak = dtype == DType::kBF16 ? limits.bf16_flops : limits.f32_flops;
    row.share = peak == 0 ? 0 : row.cost.flops / row.seconds.median / peak;
    return row;
  }
  row.seconds = Time(flags.repeats, [&](int i) {
    for (int c = 0; c < copies; ++c) {
      const ops::ProductArgs::Term one = {weight((i + c) % copies), term.y};
      ops::product(backend, {}, {.x = args.x, .terms = {&one, 1}, .mode = mode});
    }
  });
  for (double* s : {&row.seconds.median, &row.seconds.low, &row.seconds.high}) *s /= copies;
  row.bound = "memory reads";
  row.share = row.cost.bytes / row.seconds.median / limits.bytes_per_s;
  return row;
}

// One layer's attention over `blocks` blocks for `rows` queries that all read them.
OpRow BenchAttention(ops::Backend& backend, const OpsFlags& flags, const Limits& limits, int rows, int blocks,
                     int group, int dim) {
  constexpr int kBlock = 64, kHeads = 2;
  const int64_t block_elements = int64_t{2} * kBlock * dim;
  const Buffer cache = RandomBuffer(DType::kBF16, block_elements * blocks * kHeads, 5, 1.0f);
  const Buffer q = RandomBuffer(DType::kF32, int64_t{rows} * kHeads * group * dim, 6, 1.0f);
  const bool parts = rows == 1;
  const int64_t states = parts ? int64_t{blocks} * kHeads : int64_t{rows} * kHeads;
  const Buffer memory = Buffer::Host(static_cast<size_t>(states * group * (2 + dim)) * sizeof(float));
  const ops::PartialStates partial = {memory.as<float>(),
                                      memory.as<float>() + states * group,
                                      memory.as<float>() + 2 * states * group,
                                      states,
                                      group,
                                      dim};
  std::vector<int32_t> positions(static_cast<size_t>(rows), blocks * kBlock), groups = {0};
  std::vector<ops::BlockAttentionArgs::Ref> refs;
  std::vector<ops::AttentionTile> tiles;
  const int pieces = parts ? 1 : std::max(1, rows / 64);
  for (int g = 0; g < kHeads; ++g) {
    for (int piece = 0; piece < pieces; ++piece) {
      const int first = rows * piece / pieces, last = rows * (piece + 1) / pieces;
      const int32_t begin = static_cast<int32_t>(refs.size());
      for (int r = first; r < last && !parts; ++r) refs.push_back({r, r * kHeads + g});
      for (int b = 0; b < blocks; ++b) {
        const std::byte* k = cache.data() + static_cast<size_t>(block_elements * (int64_t{b} * kHeads + g)) * 2;
        const int32_t at = parts ? static_cast<int32_t>(refs.size()) : begin;
        if (parts) refs.push_back({0, g * blocks + b});
        tiles.push_back({k, k + block_elements, nullptr, g, b * kBlock, kBlock, at, parts ? 1 : last - first});
        if (parts) groups.push_back(static_cast<int32_t>(tiles.size()));
      }
      if (!parts) groups.push_back(static_cast<int32_t>(tiles.size()));
    }
  }
  const ops::BlockAttentionArgs args = {.q = q.View(DType::kF32, {rows, kHeads * group, dim}),
                                        .positions = positions,
                                        .tiles = tiles,
                                        .refs = refs,
                                        .groups = groups,
                                        .states = partial,
                                        .dtype = DType::kBF16,
                                        .block_size = kBlock,
                                        .scale = 1.0f / std::sqrt(static_cast<float>(dim))};
  OpRow row;
  row.name = fmt::format("block_attention {} rows, {} blocks, {}x{} heads of {}", rows, blocks, kHeads, group, dim);
  row.cost = ops::Cost(args);
  row.seconds = Time(flags.repeats, [&](int) {
    ops::reset_states(backend, {}, {.states = partial});
    ops::block_attention(backend, {}, args);
  });
  row.bound = parts ? "memory reads" : "oneDNN f32";
  row.share = parts ? row.cost.bytes / row.seconds.median / limits.bytes_per_s
                    : row.cost.flops / row.seconds.median / limits.f32_flops;
  return row;
}

OpRow BenchTopK(ops::Backend& backend, const OpsFlags& flags, const Limits& limits, int rows, int blocks, int k) {
  const Buffer scores = RandomBuffer(DType::kF32, int64_t{rows} * blocks, 8, 1.0f);
  const size_t words = static_cast<size_t>((blocks + 63) / 64);
  std::vector<uint64_t> masks(static_cast<size_t>(rows) * words);
  std::vector<ops::TopkBlocksArgs::Row> table;
  for (int r = 0; r < rows; ++r)
    table.push_back({scores.as<float>() + int64_t{r} * blocks, masks.data() + static_cast<size_t>(r) * words, blocks});
  const ops::TopkBlocksArgs args = {.rows = table, .k = k};
  OpRow row;
  row.name = fmt::format("topk_blocks {} rows, {} of {}", rows, k, blocks);
  row.cost = ops::Cost(args);
  row.seconds = Time(flags.repeats, [&](int) {
    std::fill(masks.begin(), masks.end(), 0);
    ops::topk_blocks(backend, {}, args);
  });
  row.bound = "memory reads";
  row.share = row.cost.bytes / row.seconds.median / limits.bytes_per_s;
  return row;
}

// Tokens of as many sequences, from a vocabulary of the 8B shape.
Result<OpRow> BenchDraw(ops::Backend& backend, const OpsFlags& flags, const Limits& limits, int rows) {
  constexpr int64_t kVocab = 73448;
  const Buffer logits = RandomBuffer(DType::kF32, rows * kVocab, 9, 3.0f);
  const std::vector<ops::DrawParams> params(static_cast<size_t>(rows), {.temperature = 0.8f, .top_p = 0.95f});
  const std::vector<int32_t> positions(static_cast<size_t>(rows), 1000);
  std::vector<TokenId> ids(static_cast<size_t>(rows)), expected(ids);
  ops::DrawTokensArgs args = {
      .logits = logits.View(DType::kF32, {rows, kVocab}), .params = params, .positions = positions, .ids = expected};
  ops::draw_tokens(*ops::reference::MakeReferenceBackend(), {}, args);
  args.ids = ids;
  OpRow row;
  row.name = fmt::format("draw_tokens {} rows, top-p of {}", rows, kVocab);
  row.cost = ops::Cost(args);
  row.seconds = Time(flags.repeats, [&](int) { ops::draw_tokens(backend, {}, args); });
  if (ids != expected) return Internal("{} differs from its twin", row.name);
  row.bound = "memory reads";
  row.share = row.cost.bytes / row.seconds.median / limits.bytes_per_s;
  return row;
}

Status BenchOps(const OpsFlags& flags) {
  if (flags.common.backend == "cuda") {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<ops::Backend> device, MakeBackend(flags.common));
    NOSA_ASSIGN_OR_RETURN(std::vector<DeviceOpRow> rows, BenchDeviceOps(*device, {.repeats = flags.repeats}));
    NOSA_ASSIGN_OR_RETURN(const std::vector<DeviceOpRow> sequences,
                          BenchSequenceOps(*device, {.repeats = flags.repeats}));
    rows.insert(rows.end(), sequences.begin(), sequences.end());
    return ReportDeviceOps(*device, rows, flags.common.json);
  }
  if (flags.common.backend != "auto" && flags.common.backend != "cpu")
    return FailedPrecondition("bench ops measures the backends cpu and cuda, asked for {}", flags.common.backend);
  const std::unique_ptr<ops::Backend> backend = cpu::MakeCpuBackend(flags.common.threads);
  constexpr int64_t kRows = 512, kN = 5632, kK = 2048;
  Limits limits;
  limits.bytes_per_s = cpu::ReadBandwidth(*backend, size_t{1} << 30, 5);
  limits.bf16_flops = cpu::OneDnnPeak(*backend, DType::kBF16, kRows, kN, kK, flags.repeats);
  limits.f32_flops = cpu::OneDnnPeak(*backend, DType::kF32, kRows, kN, kK, flags.repeats);
  std::vector<OpRow> rows;
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const int64_t m : {int64_t{1}, int64_t{8}, kRows}) {
      NOSA_ASSIGN_OR_RETURN(OpRow row, BenchProduct(*backend, flags, limits, dtype, m, kN, kK));
      rows.push_back(row);
    }
  }
  rows.push_back(BenchAttention(*backend, flags, limits, 1, 64, 4, 64));
  rows.push_back(BenchAttention(*backend, flags, limits, 1, 64, 16, 128));
  rows.push_back(BenchAttention(*backend, flags, limits, 512, 32, 4, 64));
  rows.push_back(BenchAttention(*backend, flags, limits, 512, 32, 16, 128));
  rows.push_back(BenchTopK(*backend, flags, limits, 1024, 512, 64));
  for (const int seats : {1, 64}) {
    NOSA_ASSIGN_OR_RETURN(OpRow row, BenchDraw(*backend, flags, limits, seats));
    rows.push_back(row);
  }

  io::OrderedJson json;
  json["benchmark"] = "ops";
  json["backend"] = backend->Describe();
  json["read_bandwidth_gb_s"] = limits.bytes_per_s / 1e9;
  json["onednn_peak_gflops"] = {{"bf16", limits.bf16_flops / 1e9}, {"f32", limits.f32_flops / 1e9}};
  json["rows"] = io::OrderedJson::array();
  Table table({"op", "us", "min", "max", "GB/s", "GFLOP/s", "of", "share"});
  for (const OpRow& row : rows) {
    NOSA_RETURN_IF_ERROR(CheckMeasured(row.seconds.median, row.name));
    const double gb = row.cost.bytes / row.seconds.median / 1e9, gflop = row.cost.flops / row.seconds.median / 1e9;
    json["rows"].push_back(
        {{"op", row.name},
         {"us",
          {{"median", row.seconds.median * 1e6}, {"min", row.seconds.low * 1e6}, {"max", row.seconds.high * 1e6}}},
         {"gb_s", gb},
         {"gflop_s", gflop},
         {"bound", row.bound},
         {"share", row.share}});
    table.Row({row.name, fmt::format("{:.0f}", row.seconds.median * 1e6), fmt::format("{:.0f}", row.seconds.low * 1e6),
               fmt::format("{:.0f}", row.seconds.high * 1e6), fmt::format("{:.1f}", gb), fmt::format("{:.0f}", gflop),
               row.bound, fmt::format("{:.0f} %", row.share * 100)});
  }
  if (flags.common.json) {
    PrintJson(json);
  } else {
    Print(fmt::format("{}: memory reads {:.1f} GB/s; oneDNN {} rows {:.0f} GFLOP/s bf16, {:.0f} f32\n",
                      backend->Describe(), limits.bytes_per_s / 1e9, kRows, limits.bf16_flops / 1e9,
                      limits.f32_flops / 1e9));
    Print(table.ToString());
  }
  return Status::Ok();
}

}  // namespace

void AddBenchOps(Command command) {
  auto flags = std::make_shared<OpsFlags>();
  AddCommonFlags(command, &flags->common, {.model = false, .model_required = false, .attention = false, .kv = false});
  command.Int("--repeats", &flags->repeats, 1, "times each op is measured");
  command.Does([flags] { return BenchOps(*flags); }, [flags] { return CheckCommonFlags(flags->common); });
}

}  // namespace nosa::apps

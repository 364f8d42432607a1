#include "apps/bench_device_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "apps/op_timer.h"
#include "apps/report.h"
#include "apps/table.h"
#include "base/rng.h"
#include "ops/block_attention.h"
#include "ops/copy_blocks.h"
#include "ops/draw_tokens.h"
#include "ops/product.h"
#include "ops/reference/reference_backend.h"
#include "ops/reset_states.h"
#include "ops/seats.h"
#include "ops/topk_blocks.h"
#include "ops/window_scores.h"

namespace nosa::apps {
namespace {

class DeviceBench : private OpTimer {
 public:
  DeviceBench(ops::Backend& backend, const DeviceOpSizes& sizes) : OpTimer(backend, sizes.repeats), sizes_(sizes) {}

  Result<std::vector<DeviceOpRow>> Run() {
    NOSA_RETURN_IF_ERROR(Attention(false));
    NOSA_RETURN_IF_ERROR(Attention(true));
    NOSA_RETURN_IF_ERROR(WindowScores());
    NOSA_RETURN_IF_ERROR(TopK(backend_.compute_memory(), "masks on the device"));
    NOSA_RETURN_IF_ERROR(TopK(backend_.shared_memory(), "masks in pinned memory"));
    NOSA_RETURN_IF_ERROR(CopyBlocks());
    NOSA_RETURN_IF_ERROR(Product());
    for (const int rows : {1, 64}) {
      NOSA_RETURN_IF_ERROR(Draw(rows, "greedy", {}));
      NOSA_RETURN_IF_ERROR(Draw(rows, "all", {.temperature = 0.8f}));
      NOSA_RETURN_IF_ERROR(Draw(rows, "top-k and top-p", {.temperature = 0.8f, .top_k = 50, .top_p = 0.95f}));
    }
    return std::move(rows_);
  }

 private:
  int blocks() const { return sizes_.context / sizes_.block; }
  int group() const { return sizes_.heads / sizes_.kv_heads; }
  int words() const { return (blocks() + 63) / 64; }

  // Each row's first block, its own and those before it, and others at random.
  std::vector<uint64_t> Masks(std::span<const int32_t> positions, bool sparse) const {
    constexpr int kLocal = 16;
    std::vector<uint64_t> masks(positions.size() * static_cast<size_t>(sizes_.kv_heads * words()));
    const Philox rng(11);
    uint64_t draw = 0;
    for (size_t i = 0; i < positions.size() * static_cast<size_t>(sizes_.kv_heads); ++i) {
      uint64_t* mask = masks.data() + i * static_cast<size_t>(words());
      const int own = positions[i / static_cast<size_t>(sizes_.kv_heads)] / sizes_.block;
      int count = 0;
      const auto set = [&](int b) {
        uint64_t& word = mask[b / 64];
        const uint64_t bit = uint64_t{1} << (b % 64);
        count += (word & bit) == 0 ? 1 : 0;
        word |= bit;
      };
      for (int b = sparse ? std::max(0, own - kLocal) : 0; b <= own; ++b) set(b);
      set(0);
      while (sparse && count < std::min(sizes_.selected, own + 1))
        set(static_cast<int>(rng.Block(draw++)[0] % static_cast<uint32_t>(own + 1)));
    }
    return masks;
  }

  Status Attention(bool sparse);
  Status WindowScores();
  Status TopK(MemoryKind kind, std::string_view where);
  Status CopyBlocks();
  Status Product();
  Status Draw(int rows, std::string_view how, const ops::DrawParams& params);

  DeviceOpSizes sizes_;
};

// The twin's answer for the last row of the problem, against the state the device made of it.
Status CompareLastRow(const ops::BlockAttentionArgs& args, const Buffer& q, const std::byte* host_cache,
                      const std::byte* device_cache, std::span<const uint64_t> masks, const float* found_l,
                      const float* found_acc) {
  const int64_t row = args.q.rows() - 1, kv_heads = args.q.dim(1) / args.states.heads, dim = args.states.v_dim;
  const int64_t count = kv_heads * args.states.heads;
  Buffer memory = Buffer::Host(static_cast<size_t>(count * (2 + dim)) * sizeof(float));
  const ops::PartialStates states = {memory.as<float>(), memory.as<float>() + count, memory.as<float>() + 2 * count,
                                     kv_heads,           args.states.heads,          static_cast<int>(dim)};
  std::vector<ops::AttentionTile> tiles(args.tiles.begin(), args.tiles.end());
  for (ops::AttentionTile& tile : tiles) {
    tile.k = host_cache + (static_cast<const std::byte*>(tile.k) - device_cache);
    tile.v = host_cache + (static_cast<const std::byte*>(tile.v) - device_cache);
    tile.ref_begin = 0;
    tile.ref_count = 1;
  }
  ops::BlockAttentionArgs twin = args;
  twin.q = q.View(DType::kF32, args.q.shape()).Rows(row, 1);
  twin.positions = args.positions.subspan(static_cast<size_t>(row), 1);
  twin.tiles = tiles;
  twin.states = states;
  twin.masks = masks.subspan(static_cast<size_t>(row * kv_heads * args.mask_words));
  const auto reference = ops::reference::MakeReferenceBackend();
  ops::reset_states(*reference, {}, {.states = states});
  ops::block_attention(*reference, {}, twin);
  double worst = 0;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < dim; ++c) {
      const double expected = static_cast<double>(states.acc[i * dim + c]) / states.l[i];
      worst = std::max(worst, std::abs(expected - static_cast<double>(found_acc[i * dim + c]) / found_l[i]));
    }
  }
  // Values are some hundredths; bf16 weights turn them by less than a hundredth of that.
  if (!(worst < 2e-3)) return Internal("block_attention differs from its twin by {}: not timed", worst);
  return Status::Ok();
}

Status DeviceBench::Attention(bool sparse) {
  const int64_t block_bytes = int64_t{2} * sizes_.block * sizes_.dim * 2;
  const Buffer cache = RandomBuffer(DType::kBF16, block_bytes / 2 * blocks() * sizes_.kv_heads, 5, 1.0f);
  const Buffer q = RandomBuffer(DType::kF32, int64_t{sizes_.rows} * sizes_.heads * sizes_.dim, 6, 1.0f);
  NOSA_ASSIGN_OR_RETURN(const Buffer cache_there, ToDevice(cache));
  NOSA_ASSIGN_OR_RETURN(const Buffer q_there, ToDevice(q));
  std::vector<int32_t> positions, groups = {0};
  for (int r = 0; r < sizes_.rows; ++r) positions.push_back(sizes_.context - sizes_.rows + r);
  const std::vector<uint64_t> masks = Masks(positions, sparse);
  NOSA_ASSIGN_OR_RETURN(const Buffer masks_there, ToDevice(masks.data(), masks.size() * sizeof(uint64_t)));
  std::vector<ops::AttentionTile> tiles;
  for (int g = 0; g < sizes_.kv_heads; ++g) {
    for (int b = 0; b < blocks(); ++b) {
      const std::byte* k = cache_there.data() + block_bytes * (int64_t{b} * sizes_.kv_heads + g);
      tiles.push_back({k, k + block_bytes / 2, nullptr, g, b * sizes_.block, sizes_.block, 0, sizes_.rows});
    }
    groups.push_back(static_cast<int32_t>(tiles.size()));
  }
  const int64_t states = int64_t{sizes_.rows} * sizes_.kv_heads, heads = states * group();
  NOSA_ASSIGN_OR_RETURN(const Buffer memory, backend_.Allocate(static_cast<size_t>(heads * (2 + sizes_.dim)) * 4,
                                                               backend_.compute_memory()));
  float* m = memory.as<float>();
  const ops::PartialStates partial = {m, m + heads, m + 2 * heads, states, group(), sizes_.dim};
  const ops::BlockAttentionArgs args = {.q = q_there.View(DType::kF32, {sizes_.rows, sizes_.heads, sizes_.dim}),
                                        .positions = positions,
                                        .tiles = tiles,
                                        .refs = {},
                                        .groups = groups,
                                        .states = partial,
                                        .dtype = DType::kBF16,
                                        .block_size = sizes_.block,
                                        .scale = 1.0f / std::sqrt(static_cast<float>(sizes_.dim)),
                                        .masks = {masks_there.as<uint64_t>(), masks.size()},
                                        .mask_words = words()};
  ops::reset_states(backend_, {}, {.states = partial});
  ops::block_attention(backend_, {}, args);
  const int64_t last = heads - int64_t{sizes_.kv_heads} * group();
  const size_t count = static_cast<size_t>(sizes_.kv_heads * group());
  NOSA_ASSIGN_OR_RETURN(const Buffer l, ToHost(partial.l + last, count * 4));
  NOSA_ASSIGN_OR_RETURN(const Buffer acc,
                        ToHost(partial.acc + last * sizes_.dim, count * static_cast<size_t>(sizes_.dim) * 4));
  NOSA_RETURN_IF_ERROR(
      CompareLastRow(args, q, cache.data(), cache_there.data(), masks, l.as<float>(), acc.as<float>()));

  // What is asked for: visible tokens of the blocks that are read.
  double tokens = 0;
  for (size_t i = 0; i < masks.size(); ++i) {
    const size_t row = i / static_cast<size_t>(sizes_.kv_heads * words());
    for (int b = 0; b < 64; ++b) {
      if ((masks[i] >> b & 1) == 0) continue;
      const int first = (static_cast<int>(i % static_cast<size_t>(words())) * 64 + b) * sizes_.block;
      tokens += std::min(sizes_.block, positions[row] - first + 1);
    }
  }
  return Time(fmt::format("block_attention, {} rows, {} of {} blocks", sizes_.rows,
                          sparse ? fmt::format("{}", sizes_.selected) : "all", blocks()),
              static_cast<double>(cache.size() + 2 * q.size()), 4.0 * tokens * group() * sizes_.dim,
              [&] { ops::block_attention(backend_, {}, args); });
}

Status DeviceBench::WindowScores() {
  constexpr int kWindow = 32, kStride = 16;
  const int rows = std::min(sizes_.scored_rows, sizes_.rows), windows = (sizes_.context - kWindow) / kStride + 1;
  const int64_t width = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(windows), ops::kWindowTile));
  const Buffer keys = RandomBuffer(DType::kBF16, width * sizes_.dim * sizes_.kv_heads, 7, 1.0f);
  const Buffer q = RandomBuffer(DType::kF32, int64_t{rows} * sizes_.heads * sizes_.dim, 6, 1.0f);
  NOSA_ASSIGN_OR_RETURN(const Buffer keys_there, ToDevice(keys));
  NOSA_ASSIGN_OR_RETURN(const Buffer q_there, ToDevice(q));
  const Shape shape = {rows, sizes_.kv_heads, width};
  NOSA_ASSIGN_OR_RETURN(const Buffer p, backend_.Allocate(static_cast<size_t>(shape.elements()) * sizeof(float),
                                                          backend_.compute_memory()));
  std::vector<ops::WindowState> states;
  for (int g = 0; g < sizes_.kv_heads; ++g)
    states.push_back({keys_there.data() + int64_t{g} * width * sizes_.dim * 2, nullptr, nullptr});
  const std::vector<ops::WindowScoresArgs::Row> table(static_cast<size_t>(rows), {windows, 0});
  const ops::WindowScoresArgs args = {.q = q_there.View(DType::kF32, {rows, sizes_.heads, sizes_.dim}),
                                      .rows = table,
                                      .states = states,
                                      .summary_dtype = DType::kBF16,
                                      .scale = 1.0f / std::sqrt(static_cast<float>(sizes_.dim)),
                                      .kv_heads = sizes_.kv_heads,
                                      .p = p.View(DType::kF32, shape)};
  const ops::OpCost cost = ops::Cost(args);
  return Time(fmt::format("window_scores, {} rows, {} windows", rows, windows), cost.bytes, cost.flops,
              [&] { ops::window_scores(backend_, {}, args); });
}

Status DeviceBench::TopK(MemoryKind kind, std::string_view where) {
  const int rows = std::min(sizes_.scored_rows, sizes_.rows) * sizes_.kv_heads;
  const Buffer scores = RandomBuffer(DType::kF32, int64_t{rows} * blocks(), 8, 1.0f);
  NOSA_ASSIGN_OR_RETURN(const Buffer scores_there, ToDevice(scores));
  const size_t bytes = static_cast<size_t>(rows * words()) * sizeof(uint64_t);
  NOSA_ASSIGN_OR_RETURN(const Buffer masks, backend_.Allocate(bytes, kind));
  NOSA_ASSIGN_OR_RETURN(const Buffer clear, backend_.Allocate(bytes, backend_.compute_memory()));
  std::vector<ops::TopkBlocksArgs::Row> table;
  for (int r = 0; r < rows; ++r)
    table.push_back(
        {scores_there.as<float>() + int64_t{r} * blocks(), masks.as<uint64_t>() + int64_t{r} * words(), blocks()});
  const ops::TopkBlocksArgs args = {.rows = table, .k = sizes_.selected};
  return Time(fmt::format("topk_blocks, {} rows, {} of {}, {}", rows, sizes_.selected, blocks(), where),
              ops::Cost(args).bytes, 0, [&] {
                backend_.Copy(masks.data(), clear.data(), bytes, {});
                ops::topk_blocks(backend_, {}, args);
              });
}

// All blocks of a layer from pinned memory, as a chunk reads them.
Status DeviceBench::CopyBlocks() {
  const size_t frame = RoundUp(static_cast<uint64_t>(2 * sizes_.block * sizes_.dim * 2 + sizes_.block * 4), 64);
  const size_t count = static_cast<size_t>(blocks() * sizes_.kv_heads);
  NOSA_ASSIGN_OR_RETURN(const Buffer from, backend_.Allocate(frame * count, backend_.shared_memory()));
  NOSA_ASSIGN_OR_RETURN(const Buffer to, backend_.Allocate(frame * count, backend_.compute_memory()));
  std::vector<ops::BlockCopy> copies;
  for (size_t i = 0; i < count; ++i) copies.push_back({from.data() + i * frame, to.data() + i * frame});
  NOSA_ASSIGN_OR_RETURN(const Buffer list, ToDevice(copies.data(), copies.size() * sizeof(ops::BlockCopy)));
  const auto n = static_cast<int32_t>(count);
  NOSA_ASSIGN_OR_RETURN(const Buffer number, ToDevice(&n, sizeof(n)));
  const ops::CopyBlocksArgs args = {
      .copies = list.as<ops::BlockCopy>(), .count = number.as<int32_t>(), .most = n, .bytes = frame};
  return Time(fmt::format("copy_blocks, {} blocks of {} bytes to the device", n, frame),
              static_cast<double>(frame * count), 0, [&] { ops::copy_blocks(backend_, {}, args); });
}

// The widest product of a layer.
Status DeviceBench::Product() {
  const int64_t m = sizes_.rows, n = sizes_.inner, k = sizes_.hidden;
  NOSA_ASSIGN_OR_RETURN(const Buffer w, ToDevice(RandomBuffer(DType::kBF16, n * k, 1, 0.02f)));
  NOSA_ASSIGN_OR_RETURN(const Buffer x, ToDevice(RandomBuffer(DType::kF32, m * k, 2, 1.0f)));
  NOSA_ASSIGN_OR_RETURN(const Buffer y,
                        backend_.Allocate(static_cast<size_t>(m * n) * sizeof(float), backend_.compute_memory()));
  const ops::ProductArgs::Term term = {ConstTensorView(w.data(), DType::kBF16, {n, k}), y.View(DType::kF32, {m, n})};
  const ops::ProductArgs args = {
      .x = x.View(DType::kF32, {m, k}), .terms = {&term, 1}, .mode = ops::ProductArgs::Mode::kBatched};
  const ops::OpCost cost = ops::Cost(args);
  return Time(fmt::format("product bf16 {}x{}x{}", m, n, k), cost.bytes, cost.flops,
              [&] { ops::product(backend_, {}, args); });
}

// The tokens of as many seats, at the end of a step.
Status DeviceBench::Draw(int rows, std::string_view how, const ops::DrawParams& params) {
  const Buffer logits = RandomBuffer(DType::kF32, int64_t{rows} * sizes_.vocab, 9, 3.0f);
  const size_t n = static_cast<size_t>(rows);
  const std::vector<ops::DrawParams> all(n, params);
  std::vector<int32_t> positions;
  for (int r = 0; r < rows; ++r) positions.push_back(r);
  std::vector<TokenId> expected(n);
  const Shape shape = {rows, sizes_.vocab};
  ops::draw_tokens(*ops::reference::MakeReferenceBackend(), {},
                   {.logits = logits.View(DType::kF32, shape), .params = all, .positions = positions, .ids = expected});

  NOSA_ASSIGN_OR_RETURN(const Buffer logits_there, ToDevice(logits));
  NOSA_ASSIGN_OR_RETURN(const Buffer all_there, ToDevice(all.data(), n * sizeof(ops::DrawParams)));
  NOSA_ASSIGN_OR_RETURN(const Buffer positions_there, ToDevice(positions.data(), n * sizeof(int32_t)));
  NOSA_ASSIGN_OR_RETURN(const Buffer ids, backend_.Allocate(n * sizeof(TokenId), backend_.shared_memory()));
  const ops::DrawTokensArgs args = {.logits = logits_there.View(DType::kF32, shape),
                                    .params = {all_there.as<ops::DrawParams>(), n},
                                    .positions = {positions_there.as<int32_t>(), n},
                                    .ids = {ids.as<TokenId>(), n}};
  const std::string name = fmt::format("draw_tokens, {} rows of {}, {}", rows, sizes_.vocab, how);
  ops::draw_tokens(backend_, {}, args);
  backend_.Synchronize({});
  if (!std::equal(expected.begin(), expected.end(), ids.as<TokenId>()))
    return Internal("{} differs from its twin", name);
  return Time(name, ops::Cost(args).bytes, 0, [&] { ops::draw_tokens(backend_, {}, args); });
}

}  // namespace

Result<std::vector<DeviceOpRow>> BenchDeviceOps(ops::Backend& backend, const DeviceOpSizes& sizes) {
  return DeviceBench(backend, sizes).Run();
}

Status ReportDeviceOps(const ops::Backend& backend, const std::vector<DeviceOpRow>& rows, bool json) {
  io::OrderedJson report;
  report["benchmark"] = "ops";
  report["backend"] = backend.Describe();
  report["rows"] = io::OrderedJson::array();
  Table table({"op", "us", "min", "max", "GB/s", "TFLOP/s"});
  for (const DeviceOpRow& row : rows) {
    const double gb = row.bytes / row.seconds.median / 1e9, tflop = row.flops / row.seconds.median / 1e12;
    report["rows"].push_back(
        {{"op", row.name},
         {"us",
          {{"median", row.seconds.median * 1e6}, {"min", row.seconds.low * 1e6}, {"max", row.seconds.high * 1e6}}},
         {"gb_s", gb},
         {"tflop_s", tflop}});
    table.Row({row.name, fmt::format("{:.1f}", row.seconds.median * 1e6), fmt::format("{:.1f}", row.seconds.low * 1e6),
               fmt::format("{:.1f}", row.seconds.high * 1e6), fmt::format("{:.1f}", gb),
               row.flops == 0 ? "" : fmt::format("{:.1f}", tflop)});
  }
  if (json) {
    PrintJson(report);
  } else {
    Print(fmt::format("{}\n", backend.Describe()));
    Print(table.ToString());
  }
  return Status::Ok();
}

}  // namespace nosa::apps

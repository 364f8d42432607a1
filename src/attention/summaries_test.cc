// Cutting a sequence anywhere and going on gives the summaries of one that was never cut, bit for bit.
#include "attention/summaries.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/cpu_backend.h"
#include "base/rng.h"
#include "kv/tier.h"

namespace nosa::attention {
namespace {

struct SummaryCase {
  std::string name;
  int block, kernel, stride;
  DType dtype;
  bool importance;
  bool cold;
  friend std::ostream& operator<<(std::ostream& out, const SummaryCase& c) { return out << c.name; }
};

class RestoreTest : public testing::TestWithParam<SummaryCase> {
 protected:
  RestoreTest() {
    const SummaryCase& c = GetParam();
    config_.layers = config_.kv_heads = 2;
    config_.heads = 4;
    config_.head_dim = 5;
    config_.block_size = c.block;
    config_.kernel_size = c.kernel;
    config_.kernel_stride = c.stride;
    config_.has_importance = c.importance;
    config_.kv_dtype = c.dtype;
    tokens_ = 3 * c.kernel + 9 * c.block + 1;  // more blocks than the smallest budget has slots
    layout_.emplace(config_, tokens_);
    kv::StoreOptions options;
    options.layout = {.layers = 2,
                      .kv_heads = 2,
                      .block_size = c.block,
                      .k_dim = 5,
                      .v_dim = 3,
                      .dtype = c.dtype,
                      .has_importance = c.importance};
    options.max_append_tokens = tokens_;
    if (c.cold) {
      options.cold = kv::MakeTier("memory", {.location = "", .capacity_bytes = 1 << 20}).value();
      // As Model::MinSlotsPerLane: what a restore reads at once.
      options.min_slots_per_lane = static_cast<int>(CeilDiv(2 * c.kernel, c.block)) + 2;
      const kv::SequenceNeeds needs = Needs();
      kv::StoreOptions probe = {.layout = options.layout,
                                .cold = kv::MakeTier("memory", {.location = "", .capacity_bytes = 1 << 20}).value(),
                                .max_append_tokens = tokens_,
                                .min_slots_per_lane = options.min_slots_per_lane};
      options.host_budget_bytes =
          kv::KvStore::Create(std::move(probe), backend_.get()).value()->SmallestBudget({&needs, 1});
    }
    store_ = kv::KvStore::Create(std::move(options), backend_.get()).value();
  }

  kv::SequenceNeeds Needs() const { return {tokens_, layout_->bytes()}; }

  // Appends tokens [from, to) of a fixed random text in pieces of `piece`.
  void Append(SeqId seq, int from, int to, int piece) {
    const int lanes = store_->layout().lanes();
    const Philox rng(5);
    for (int begin = from; begin < to; begin += piece) {
      const int count = std::min(piece, to - begin);
      ASSERT_TRUE(store_->BeginAppend(seq, count).ok());
      for (int lane = 0; lane < lanes; ++lane) {
        std::vector<ops::KvRow> rows;
        for (int pos = begin; pos < begin + count; ++pos) {
          const ops::KvRow& row = rows.emplace_back(store_->Row(seq, lane, pos));
          const uint64_t at = static_cast<uint64_t>(pos * lanes + lane) * 16;
          for (uint64_t i = 0; i < 5; ++i) StoreFloat(row.k, config_.kv_dtype, i, rng.Normal(at + i));
          if (row.s != nullptr) *row.s = rng.Normal(at + 9);
        }
        const ops::WindowState state = layout_->State(store_->side(seq), lane);
        const ops::PoolWindowsArgs::Segment segment = {begin, count, 0, 0};
        ops::pool_windows(*backend_, {},
                          {.segments = {&segment, 1},
                           .rows = rows,
                           .states = {&state, 1},
                           .kv_heads = 1,
                           .head_dim = 5,
                           .kernel_size = config_.kernel_size,
                           .kernel_stride = config_.kernel_stride,
                           .kv_dtype = config_.kv_dtype,
                           .summary_dtype = config_.kv_dtype});
      }
      store_->CommitAppend(seq);
      store_->NextStep();
    }
  }

  // Every complete window's key and importance, over all lanes.
  std::vector<float> Windows(SeqId seq) {
    std::vector<float> values;
    for (int lane = 0; lane < store_->layout().lanes(); ++lane) {
      const ops::WindowState state = layout_->State(store_->side(seq), lane);
      for (int w = 0; w < config_.WindowsOf(store_->length(seq)); ++w) {
        for (int i = 0; i < 5; ++i) values.push_back(LoadFloat(state.keys, config_.kv_dtype, KeyIndex(w, i)));
        if (state.sigma != nullptr) values.push_back(state.sigma[w]);
      }
    }
    return values;
  }

  static size_t KeyIndex(int w, int i) {
    return static_cast<size_t>((w / ops::kWindowTile * 5 + i) * ops::kWindowTile + w % ops::kWindowTile);
  }

  // What a cut leaves behind must not be used: later windows and all running sums become NaN.
  void Poison(SeqId seq, int length) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (int lane = 0; lane < store_->layout().lanes(); ++lane) {
      const ops::WindowState state = layout_->State(store_->side(seq), lane);
      for (int w = config_.WindowsOf(length); w < config_.WindowsOf(tokens_); ++w) {
        for (int i = 0; i < 5; ++i) StoreFloat(state.keys, config_.kv_dtype, KeyIndex(w, i), nan);
        if (state.sigma != nullptr) state.sigma[w] = nan;
      }
      std::fill_n(state.carry, config_.kernel_size / config_.kernel_stride * (5 + 1), nan);
    }
  }

  AttentionConfig config_;
  int tokens_ = 0;
  std::optional<SummaryLayout> layout_;
  std::unique_ptr<ops::Backend> backend_ = cpu::MakeCpuBackend(1);
  std::unique_ptr<kv::KvStore> store_;
};

TEST_P(RestoreTest, GoesOnAsIfNeverCut) {
  const SeqId whole = store_->Open(Needs()).value();
  Append(whole, 0, tokens_, tokens_);
  const std::vector<float> expected = Windows(whole);
  ASSERT_FALSE(expected.empty());
  store_->Close(whole);
  for (int cut = 0; cut <= tokens_; ++cut) {
    SCOPED_TRACE(fmt::format("cut at {} of {}", cut, tokens_));
    const SeqId seq = store_->Open(Needs()).value();
    Append(seq, 0, tokens_, 1 + cut % 13);
    ASSERT_TRUE(store_->Truncate(seq, cut).ok());
    Poison(seq, cut);
    const Status status = RestoreRunningSums(config_, *store_, seq, *backend_);
    ASSERT_TRUE(status.ok()) << status.ToString();
    Append(seq, cut, tokens_, 1 + cut % 5);
    const std::vector<float> actual = Windows(seq);
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0);
    store_->Close(seq);
  }
  EXPECT_EQ(store_->stats().blocks_fetched > 0, GetParam().cold);
}

// Pieces of any size, taken while the tokens came, make another sequence's summaries what they were: it goes on as if
// they were its own.
TEST_P(RestoreTest, PiecesGiveSummariesBack) {
  const SeqId whole = store_->Open(Needs()).value();
  Append(whole, 0, tokens_, tokens_);
  const std::vector<float> expected = Windows(whole);
  store_->Close(whole);
  SummaryCopier copier(backend_.get());
  for (const int size : {1, config_.kernel_stride, config_.block_size, 2 * config_.block_size + 1, tokens_ / 2}) {
    std::vector<Buffer> pieces;
    const SeqId first = store_->Open(Needs()).value();
    for (int end = size; end <= tokens_; end += size) {
      Append(first, end - size, end, size);
      const SummaryPiece piece(config_, end - size, end);
      pieces.push_back(backend_->Allocate(piece.bytes(), backend_->shared_memory()).value());
      copier.Save(piece, *layout_, store_->side(first), pieces.back().span());
    }
    store_->Close(first);
    for (size_t n = 1; n <= pieces.size(); n += std::max<size_t>(1, pieces.size() / 3)) {
      SCOPED_TRACE(fmt::format("{} pieces of {} tokens", n, size));
      const int length = static_cast<int>(n) * size;
      const SeqId seq = store_->Open(Needs()).value();
      Append(seq, 0, length, tokens_);
      Poison(seq, 0);
      for (size_t i = 0; i < n; ++i) {
        const int begin = static_cast<int>(i) * size;
        copier.Load(SummaryPiece(config_, begin, begin + size), *layout_, pieces[i].span(), store_->side(seq));
      }
      Append(seq, length, tokens_, 3);
      const std::vector<float> actual = Windows(seq);
      ASSERT_EQ(actual.size(), expected.size());
      EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0);
      store_->Close(seq);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Summaries, RestoreTest,
                         testing::Values(SummaryCase{"two_strides", 8, 4, 2, DType::kF32, true, false},
                                         SummaryCase{"two_strides_cold", 8, 4, 2, DType::kF32, true, true},
                                         SummaryCase{"three_strides_bf16_cold", 6, 9, 3, DType::kBF16, true, true},
                                         SummaryCase{"one_stride", 4, 4, 4, DType::kF32, true, false},
                                         SummaryCase{"windows_longer_than_blocks_cold", 4, 12, 2, DType::kF32, true,
                                                     true},
                                         SummaryCase{"without_importance", 16, 8, 4, DType::kBF16, false, true}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nosa::attention

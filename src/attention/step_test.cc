#include "attention/step.h"

#include <gtest/gtest.h>

#include "ops/host_backend.h"
#include "ops/reference/reference_backend.h"

namespace nosa::attention {
namespace {

// Computes in memory of its own kind, and adds up what it gives of it.
class CountingBackend final : public ops::HostBackend {
 public:
  std::string_view name() const override { return "counting"; }
  std::string Describe() const override { return "adds up its device memory"; }
  const ops::OpTable& table() const override { return reference_->table(); }
  int threads() const override { return 1; }
  MemoryKind compute_memory() const override { return MemoryKind::kDevice; }
  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override {
    if (kind == MemoryKind::kDevice) device_bytes += bytes;
    return HostBackend::Allocate(bytes, MemoryKind::kHost);
  }
  uint64_t device_bytes = 0;

 private:
  std::unique_ptr<ops::Backend> reference_ = ops::reference::MakeReferenceBackend();
};

AttentionConfig Config(bool importance) {
  return {.layers = 3,
          .heads = 6,
          .kv_heads = 2,
          .head_dim = 5,
          .block_size = 16,
          .kernel_size = 8,
          .kernel_stride = 4,
          .init_blocks = 1,
          .local_blocks = 2,
          .query_topk = 3,
          .topk = 9,
          .has_importance = importance};
}

kv::SeatOptions Seats(const AttentionConfig& config, int seats, int tokens) {
  return {{.layers = config.layers,
           .kv_heads = config.kv_heads,
           .block_size = config.block_size,
           .k_dim = config.head_dim,
           .v_dim = config.head_dim,
           .dtype = config.kv_dtype,
           .has_importance = config.has_importance},
          seats,
          8,
          tokens};
}

TEST(StepAttention, TakesTheDeviceBytesItSays) {
  for (const std::string selector : {"nosa", "infllm2", "dma", "full", "window"}) {
    for (const int tokens : {40, 100, 1001}) {
      if (selector == "full" && tokens > 100) continue;  // of eight slots
      for (const int seats : {1, 3}) {
        CountingBackend backend;
        const AttentionConfig config = Config(true);
        const kv::SeatOptions options = Seats(config, seats, tokens);
        const auto store = kv::SeatStore::Create(options, &backend).value();
        backend.device_bytes = 0;
        const StepOptions step = {.selector = selector};
        const auto made = StepAttention::Create(config, step, store.get(), &backend);
        ASSERT_TRUE(made.ok()) << made.status().ToString();
        EXPECT_EQ(backend.device_bytes, StepAttention::DeviceBytes(config, step, options))
            << selector << ", " << tokens << " tokens, " << seats << " seats";
      }
    }
  }
}

TEST(StepAttention, NeedsTheImportanceOfItsSelector) {
  CountingBackend backend;
  const AttentionConfig config = Config(false);
  const auto store = kv::SeatStore::Create(Seats(config, 1, 100), &backend).value();
  for (const std::string selector : {"nosa", "dma"}) {
    EXPECT_EQ(StepAttention::Create(config, {.selector = selector}, store.get(), &backend).status().code(),
              StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(StepAttention::Create(config, {.selector = "infllm2"}, store.get(), &backend).ok());
}

}  // namespace
}  // namespace nosa::attention

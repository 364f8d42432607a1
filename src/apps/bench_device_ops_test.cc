// That the measured calls keep their contracts and agree with their twins, at sizes a processor can do.
#include "apps/bench_device_ops.h"

#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"

namespace nosa::apps {
namespace {

TEST(BenchDeviceOps, MeasuresWhatTheTwinConfirms) {
  const auto backend = cpu::MakeCpuBackend(1);
  const auto rows = BenchDeviceOps(*backend, {.context = 2048,
                                              .rows = 64,
                                              .scored_rows = 16,
                                              .heads = 4,
                                              .kv_heads = 2,
                                              .dim = 32,
                                              .block = 16,
                                              .hidden = 64,
                                              .inner = 96,
                                              .vocab = 2000,
                                              .selected = 24,
                                              .repeats = 1});
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  EXPECT_EQ(rows->size(), 13u);
  EXPECT_GT(rows->at(0).flops, 3 * rows->at(1).flops) << "all of 128 blocks against 24";
}

TEST(BenchDeviceOps, MeasuresWholeSequences) {
  const auto backend = cpu::MakeCpuBackend(1);
  const auto rows = BenchSequenceOps(*backend, {.tokens = {300, 700},
                                                .batch_tokens = 600,
                                                .heads = 2,
                                                .kv_heads = 1,
                                                .dim = 16,
                                                .block = 16,
                                                .window = 8,
                                                .stride = 4,
                                                .local_blocks = 1,
                                                .query_blocks = 2,
                                                .selected = 6,
                                                .repeats = 1});
  ASSERT_TRUE(rows.ok()) << rows.status().ToString();
  ASSERT_EQ(rows->size(), 10u);
  EXPECT_GT(rows->at(8).flops, 3 * rows->at(6).flops) << "all of 44 blocks against 6";
}

}  // namespace
}  // namespace nosa::apps

// Host memory that a GPU reads: pinned, or, where the system pins no more, read all the same or refused in a sentence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/draw_tokens.h"
#include "tests/cuda_device.h"

namespace nosa {
namespace {

#if NOSA_HAS_CUDA
TEST(PinnedMemory, WhatCannotBePinnedIsReadAllTheSameOrRefusedWithWhatCould) {
  if (const auto gpu = CudaForTests(false); !gpu.ok())
    GTEST_SKIP() << "not tested on a GPU: " << gpu.status().message();
  constexpr size_t kMib = size_t{1} << 20;
  cuda::CudaOptions options;
  options.pinned_limit_bytes = 8 * kMib;
  const auto backend = cuda::MakeCudaBackend(options).value();
  const auto first = backend->Allocate(6 * kMib, MemoryKind::kPinned);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  {
    const auto second = backend->Allocate(4 * kMib, MemoryKind::kPinned);
    if (!second.ok()) {
      EXPECT_EQ(second.status().code(), StatusCode::kResourceExhausted);
      EXPECT_THAT(std::string(second.status().message()),
                  testing::AllOf(testing::StartsWith("6.0 MiB of memory could be pinned, 4.0 MiB more could not"),
                                 testing::HasSubstr("keep less KV in RAM")));
    } else {
      float* logits = second->as<float>();
      logits[1000] = 3;
      auto* id = reinterpret_cast<TokenId*>(second->data() + 3 * kMib);
      const ops::DrawParams greedy;
      const int32_t position = 0;
      ops::draw_tokens(*backend, {},
                       {.logits = ConstTensorView(logits, DType::kF32, {1, 2000}),
                        .params = {&greedy, 1},
                        .positions = {&position, 1},
                        .ids = {id, 1}});
      backend->Synchronize({});
      EXPECT_EQ(*id, 1000);
    }
  }
  EXPECT_TRUE(backend->Allocate(2 * kMib, MemoryKind::kPinned).ok()) << "what failed is not counted";
}
#endif

}  // namespace
}  // namespace nosa

// What a decode step takes of a device's memory, how many slots are chosen for it, and what is said when it does not
// fit.
#include <gmock/gmock.h>

#include "model/slot_plan.h"
#include "tests/parity/engine_test_util.h"
#include "tests/parity/small_models.h"

namespace nosa::model {
namespace {

using engine::DemoModel;
using testing::HasSubstr;

std::shared_ptr<const Model> Open(const std::string& directory, ops::Backend* backend) {
  LoadOptions options;
  options.backend = backend;
  return Model::Open(directory, options).value();
}

DecodeStepOptions Options(int seats, int slots, int max_tokens) {
  DecodeStepOptions options;
  options.seats = seats;
  options.slots = slots;
  options.max_tokens = max_tokens;
  return options;
}

// Create and the first step (and on a GPU the recording of the second) stay within what was said, and come near it.
class StepMemoryTest : public testing::TestWithParam<std::string> {};

uint64_t DeviceBytesOf(ops::Backend& backend) {
  if (auto* deferred = dynamic_cast<DeferredBackend*>(&backend)) return deferred->device_bytes();
  return UINT64_MAX - backend.Available(MemoryKind::kDevice);
}

TEST_P(StepMemoryTest, TakesWhatWasSaid) {
  if (const std::string why = engine::WhyNot(GetParam()); !why.empty()) GTEST_SKIP() << why;
  const std::shared_ptr<ops::Backend> backend = engine::MakeBackend(GetParam(), 2);
  const auto used = [&] { return DeviceBytesOf(*backend); };
  const std::shared_ptr<const Model> model = Open(DemoModel(), backend.get());
  // Large enough that what is the same for every step (DeviceBytes: room for scratch) does not count for much.
  for (const DecodeStepOptions& options : {Options(10, 200, 30000), Options(90, 64, 12000)}) {
    const uint64_t said = DecodeStep::DeviceBytes(*model, options), before = used();
    const std::unique_ptr<DecodeStep> step = DecodeStep::Create(model, options, backend.get()).value();
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(step->Run().ok());
    step->Wait();
    const uint64_t taken = used() - before;
    EXPECT_LE(taken, said);
    EXPECT_GE(taken, said / 5 * 4) << "of " << said;
  }
}

// An embedding beside a head of its own takes no device memory: a step reads one row of it for each token.
TEST_P(StepMemoryTest, TablesLieInSharedMemory) {
  if (const std::string why = engine::WhyNot(GetParam()); !why.empty()) GTEST_SKIP() << why;
  const std::shared_ptr<ops::Backend> backend = engine::MakeBackend(GetParam(), 2);
  const auto open = [&](bool tied) {
    const std::string name = fmt::format("step_memory_{}", tied ? "tied" : "untied");
    return Open(engine::SmallCheckpoint(name, engine::OneKvHead(tied), 5), backend.get());
  };
  const uint64_t before = DeviceBytesOf(*backend);
  const auto tied = open(true);
  const uint64_t between = DeviceBytesOf(*backend);
  const auto untied = open(false);
  EXPECT_EQ(untied->device_weight_bytes(), tied->device_weight_bytes());
  EXPECT_EQ(DeviceBytesOf(*backend) - between, between - before);
  EXPECT_EQ(tied->copied_weight_bytes(), 0u);
  const schema::ModelConfig& config = untied->config();
  const uint64_t table = sizeof(float) * static_cast<uint64_t>(config.vocab_size * config.hidden_size);
  EXPECT_GE(untied->copied_weight_bytes(), table);
  EXPECT_LT(untied->copied_weight_bytes(), table + 4096) << "pinned memory comes in pages";
}

TEST(StepMemory, ATableThatCannotBePinnedLiesOnTheDevice) {
  DeferredBackend backend(2);
  const std::string untied = engine::SmallCheckpoint("step_memory_untied", engine::OneKvHead(false), 5);
  const auto pinned = Open(untied, &backend);
  const uint64_t all = backend.device_bytes();
  backend.RefusePinnedOnce();
  const auto refused = Open(untied, &backend);
  // An allocation of its own: the others have the room that was meant for them.
  EXPECT_EQ(backend.device_bytes() - all, all + RoundUp(pinned->copied_weight_bytes(), 4096));
  EXPECT_EQ(refused->copied_weight_bytes(), 0u);
  EXPECT_EQ(refused->device_weight_bytes(), pinned->device_weight_bytes() + pinned->copied_weight_bytes());
}

INSTANTIATE_TEST_SUITE_P(Backends, StepMemoryTest, testing::Values("deferred", "cuda"),
                         [](const auto& info) { return info.param; });

class SlotPlanTest : public testing::Test {
 protected:
  SlotPlanTest() : backend_(2), model_(Open(DemoModel(), &backend_)) {}
  uint64_t KvBytes(int seats, int slots, int tokens) const {
    return kv::SeatStore::DeviceBytes({model_->block_layout(), seats, slots, tokens});
  }
  int Slots(int seats, int tokens, const StepMemory& memory) {
    const Result<int> slots = ChooseSlots(*model_, Options(seats, 0, tokens), memory, backend_);
    EXPECT_TRUE(slots.ok()) << slots.status().ToString();
    return slots.ok() ? *slots : -1;
  }

  DeferredBackend backend_;
  std::shared_ptr<const Model> model_;
  const int topk_ = model_->attention_config().topk;
};

constexpr int kTokens = 30000;  // 469 blocks of 64

TEST_F(SlotPlanTest, AllBlocksWhereTheyFit) {
  EXPECT_EQ(Slots(3, kTokens, {}), 468);
  EXPECT_EQ(Slots(3, 64, {}), 1) << "at least one, though there is no sealed block to be read";
  EXPECT_EQ(Slots(3, kTokens, {.kv_bytes = KvBytes(3, 468, kTokens)}), 468);
  EXPECT_EQ(Slots(3, kTokens, {.kv_bytes = KvBytes(3, 468, kTokens) - 1}), 467);
}

TEST_F(SlotPlanTest, NeverPassesTheBound) {
  for (const int slots : {topk_ - 1, topk_, 2 * topk_, 300}) {
    EXPECT_EQ(Slots(3, kTokens, {.kv_bytes = KvBytes(3, slots, kTokens)}), slots);
    EXPECT_EQ(Slots(3, kTokens, {.kv_bytes = KvBytes(3, slots + 1, kTokens) - 1}), slots);
  }
}

// Without a bound, what does not fit whole leaves the device to others.
TEST_F(SlotPlanTest, WithoutABoundASlackThatHelps) {
  const auto all = [&](int slots) { return DecodeStep::DeviceBytes(*model_, Options(3, slots, kTokens)); };
  EXPECT_EQ(Slots(3, kTokens, {all(468), {}}), 468);
  EXPECT_EQ(Slots(3, kTokens, {all(468) - 1, {}}), 2 * (topk_ - 1));
  EXPECT_EQ(Slots(3, kTokens, {all(topk_ + 3), {}}), topk_ + 3);
}

TEST_F(SlotPlanTest, SaysWhatWouldFit) {
  const uint64_t least = KvBytes(3, topk_ - 1, kTokens);
  const auto refused = [&](int seats, const StepMemory& memory) {
    const Result<int> slots = ChooseSlots(*model_, Options(seats, 0, kTokens), memory, backend_);
    EXPECT_EQ(slots.status().code(), StatusCode::kResourceExhausted);
    return std::string(slots.status().message());
  };
  EXPECT_EQ(refused(3, {.kv_bytes = least - 1}),
            fmt::format("the KV budget on the device is {}, 3 sequences of up to 30000 tokens that answer at once need "
                        "at least {} ({} blocks per layer and KV head); 2 at once would fit",
                        FormatByteSize(least - 1), FormatByteSize(least), topk_ - 1));
  EXPECT_THAT(refused(3, {.kv_bytes = 1000}), HasSubstr("not even one would fit"));
  const uint64_t needs = DecodeStep::DeviceBytes(*model_, Options(2, topk_ - 1, kTokens));
  EXPECT_EQ(
      refused(2, {needs - 1, {}}),
      fmt::format("the device has {} left for decoding, 2 sequences of up to 30000 tokens that answer at once need "
                  "at least {}; 1 at once would fit",
                  FormatByteSize(needs - 1), FormatByteSize(needs)));
  for (int seats = 1; seats <= 5; ++seats) {
    EXPECT_EQ(MostSeats(*model_, Options(5, 0, kTokens), {.kv_bytes = KvBytes(seats, topk_ - 1, kTokens)}, backend_),
              seats);
    EXPECT_EQ(
        MostSeats(*model_, Options(5, 0, kTokens), {.kv_bytes = KvBytes(seats, topk_ - 1, kTokens) - 1}, backend_),
        seats - 1);
  }
}

// Where the host addresses everything, a copy of a block helps nobody.
TEST_F(SlotPlanTest, OnTheHostBlocksAreReadWhereTheyAre) {
  const auto cpu = cpu::MakeCpuBackend(1);
  EXPECT_EQ(ChooseSlots(*model_, Options(3, 0, kTokens), {}, *cpu).value(), 0);
  EXPECT_EQ(ChooseSlots(*model_, Options(3, 0, kTokens), {.kv_bytes = KvBytes(3, 99, kTokens)}, *cpu).value(), 99);
}

// A step past a seat's room is an error before anything is computed.
TEST(DecodeStep, RefusesAStepPastItsRoom) {
  const auto cpu = cpu::MakeCpuBackend(1);
  const auto model = Open(engine::SmallCheckpoint("step_memory", engine::OneKvHead(false), 5), cpu.get());
  const auto step = DecodeStep::Create(model, Options(2, 0, 20), cpu.get()).value();
  const size_t bytes = kv::FrameOf(model->block_layout()).bytes;
  const int lanes = model->block_layout().lanes();
  const Buffer homes = cpu->Allocate(static_cast<size_t>(2 * lanes) * bytes, MemoryKind::kHost).value();
  step->store().Seat(1, 18);
  for (int lane = 0; lane < lanes; ++lane) {
    for (int block = 0; block < 2; ++block)
      step->store().SetHome(1, lane, BlockId(block), homes.data() + static_cast<size_t>(2 * lane + block) * bytes);
  }
  EXPECT_TRUE(step->Run().ok());
  EXPECT_TRUE(step->Run().ok());
  const Status past = step->Run();
  EXPECT_EQ(past.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(past.message()), HasSubstr("seat 1 has 20 tokens, there is room for 20"));
}

}  // namespace
}  // namespace nosa::model

// Engine and trainer compute the same logits from the same checkpoint.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "engine/engine.h"
#include "io/safetensors.h"
#include "schema/random_checkpoint.h"
#include "schema/tensors.h"
#include "tests/train/small_trained.h"
#include "train/decoder.h"

namespace nosa::train {
namespace {

// The engine's logits at the last `rows` positions of the prompt, one after the other.
std::vector<float> EngineLogits(const std::string& directory, const std::string& attention,
                                const std::vector<TokenId>& prompt, int rows) {
  const std::unique_ptr<ops::Backend> backend = cpu::MakeCpuBackend(2);
  model::LoadOptions load;
  load.backend = backend.get();
  load.dtype = DType::kF32;
  const auto model = model::Model::Open(directory, load);
  EXPECT_TRUE(model.ok()) << model.status().ToString();
  engine::EngineOptions options;
  options.attention.selector = attention;
  const auto engine = engine::Engine::Create(*model, nullptr, std::move(options), backend.get());
  EXPECT_TRUE(engine.ok()) << engine.status().ToString();
  engine::Request request;
  request.prompt = prompt;
  request.max_tokens = 0;
  request.prompt_logits = rows;
  EXPECT_TRUE((*engine)->Submit(std::move(request)).ok());
  std::vector<float> logits;
  std::vector<engine::Event> events;
  while ((*engine)->HasWork()) {
    events.clear();
    const Status step = (*engine)->Step(&events);
    EXPECT_TRUE(step.ok()) << step.ToString();
    for (const engine::Event& event : events) {
      if (event.kind != engine::Event::Kind::kPromptLogits) continue;
      for (int64_t r = 0; r < event.logits.rows(); ++r) {
        const float* row = event.logits.row<float>(r);
        logits.insert(logits.end(), row, row + event.logits.RowElements());
      }
    }
  }
  return logits;
}

// The trainer's.
std::vector<float> TrainerLogits(const std::string& directory, const std::string& attention,
                                 const std::vector<TokenId>& prompt, int rows) {
  const std::unique_ptr<ops::Backend> backend = cpu::MakeCpuBackend(2);
  auto config = schema::ReadModelConfig(directory);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  const auto checkpoint = io::Safetensors::OpenDirectory(directory);
  EXPECT_TRUE(checkpoint.ok() && schema::ValidateTensors(**checkpoint, &*config).ok());
  const Compute compute(backend.get());
  Parameters parameters(*config, {}, at::kCPU);
  const Status loaded = parameters.Load(**checkpoint);
  EXPECT_TRUE(loaded.ok()) << loaded.ToString();
  Decoder decoder(compute, parameters);
  const at::Tensor ids = at::empty({static_cast<int64_t>(prompt.size())}, at::kLong);
  std::copy(prompt.begin(), prompt.end(), ids.data_ptr<int64_t>());
  const at::Tensor logits =
      decoder.Logits(ids, static_cast<int>(prompt.size()), {.method = MakeMethod(attention, *config).value()});
  const at::Tensor last = logits.narrow(0, logits.size(0) - rows, rows).contiguous();
  return {last.data_ptr<float>(), last.data_ptr<float>() + last.numel()};
}

void ExpectSameLogits(const std::string& directory, const std::string& attention, int vocabulary, int tokens) {
  SCOPED_TRACE(directory + " " + attention);
  std::vector<TokenId> prompt;
  const Philox random(3);
  for (int i = 0; i < tokens; ++i)
    prompt.push_back(
        static_cast<TokenId>(random.Block(static_cast<uint64_t>(i))[0] % static_cast<uint32_t>(vocabulary)));
  const int rows = tokens / 2;
  const std::vector<float> engine = EngineLogits(directory, attention, prompt, rows);
  const std::vector<float> trainer = TrainerLogits(directory, attention, prompt, rows);
  ASSERT_EQ(engine.size(), trainer.size());
  ASSERT_EQ(engine.size(), static_cast<size_t>(rows) * static_cast<size_t>(vocabulary));
  float most = 0;
  for (size_t i = 0; i < engine.size(); ++i) most = std::max(most, std::abs(engine[i] - trainer[i]));
  EXPECT_LE(most, 1e-3) << "the logits' largest difference";
  testing::Test::RecordProperty("difference_" + attention, std::to_string(most));
}

TEST(Parity, RandomCheckpointWhereBlocksAreLeftOut) {
  const std::string directory = (std::filesystem::path(testing::TempDir()) / "random").string();
  const Status written = schema::WriteRandomCheckpoint(directory, FactModel(128, 3), 5, DType::kF32);
  ASSERT_TRUE(written.ok()) << written.ToString();
  for (const std::string attention : {"nosa", "infllm2", "dma", "full", "window"})
    ExpectSameLogits(directory, attention, PlantedFacts::kVocabulary, 331);
}

TEST(Parity, ShippedModel) {
  for (const std::string attention : {"nosa", "infllm2", "dma", "full"})
    ExpectSameLogits(NOSA_SOURCE_DIR "/models/nosa-21m", attention, 8192, 300);
}

}  // namespace
}  // namespace nosa::train

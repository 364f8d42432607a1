// Runs the engine as tests need it: a model directory, options, prompts, and everything that came out.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "ops/reference/reference_backend.h"
#include "tests/cuda_device.h"
#include "tests/deferred_backend.h"

namespace nosa::engine {

inline std::string DemoModel() { return NOSA_SOURCE_DIR "/models/nosa-21m"; }

// A backend, a model and an engine, in the order of their lives.
struct Rig {
  std::shared_ptr<ops::Backend> backend;
  std::shared_ptr<const model::Model> model;
  std::unique_ptr<Engine> engine;
};

inline std::shared_ptr<ops::Backend> MakeBackend(const std::string& name, int threads) {
  if (name == "cuda") return CudaForTests(false).value();
  if (name == "deferred") return std::make_shared<DeferredBackend>(threads);
  if (name == "reference") return ops::reference::MakeReferenceBackend();
  return cpu::MakeCpuBackend(threads);
}

// Why a test on this backend cannot run here; empty: it can.
inline std::string WhyNot(const std::string& backend) {
  if (backend != "cuda") return "";
  const auto cuda = CudaForTests(false);
  return cuda.ok() ? "" : "not tested on a GPU: " + std::string(cuda.status().message());
}

struct RigOptions {
  std::string model = DemoModel();
  std::string backend = "cpu";
  int threads = 2;         // of the processors
  bool tokenizer = false;  // with the model's tokenizer: answers have text
  model::LoadOptions load;
  EngineOptions engine;
};

inline Rig MakeRig(RigOptions options) {
  Rig rig;
  rig.backend = MakeBackend(options.backend, options.threads);
  options.load.backend = rig.backend.get();
  auto model = model::Model::Open(options.model, options.load);
  EXPECT_TRUE(model.ok()) << model.status().ToString();
  rig.model = *model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (options.tokenizer) {
    auto loaded = text::Tokenizer::FromFile(options.model + "/tokenizer.json");
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    tokenizer = *loaded;
  }
  auto engine = Engine::Create(rig.model, tokenizer, std::move(options.engine), rig.backend.get());
  EXPECT_TRUE(engine.ok()) << engine.status().ToString();
  rig.engine = std::move(engine).value();
  return rig;
}

// What one request gave.
struct Outcome {
  RequestResult result;
  std::vector<std::vector<float>> logits;  // of the prompt positions asked for, in order
  // [position][layer][kv head]: ascending block ids
  std::vector<std::vector<std::vector<std::vector<int>>>> selected;
};

inline void Collect(const std::vector<Event>& events, Outcome* outcome) {
  for (const Event& event : events) {
    if (event.kind != Event::Kind::kPromptLogits) continue;
    for (int64_t r = 0; r < event.logits.rows(); ++r) {
      const float* row = event.logits.row<float>(r);
      outcome->logits.emplace_back(row, row + event.logits.RowElements());
      if (event.selection == nullptr) continue;
      auto& position = outcome->selected.emplace_back();
      for (const model::Selection& layer : event.selection->layers) {
        auto& heads = position.emplace_back();
        for (int g = 0; g < layer.kv_heads(); ++g) {
          auto& blocks = heads.emplace_back();
          model::ForEachBit(layer.Mask(event.selection_first_row + static_cast<int>(r), g),
                            [&](int b) { blocks.push_back(b); });
        }
      }
    }
  }
}

// Steps until everything has finished.
inline void RunAll(Engine& engine, Outcome* outcome = nullptr) {
  std::vector<Event> events;
  while (engine.HasWork()) {
    events.clear();
    const Status status = engine.Step(&events);
    ASSERT_TRUE(status.ok()) << status.ToString();
    if (outcome != nullptr) Collect(events, outcome);
  }
}

// Prompt ids for which what they mean does not matter.
inline std::vector<TokenId> RandomPrompt(int tokens, uint64_t stream) {
  const Philox rng(11, stream);
  std::vector<TokenId> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(3 + rng.Block(i)[0] % 8000);
  return ids;
}

// One request from start to end. The request is released unless it is kept open.
inline Outcome RunRequest(Engine& engine, Request request) {
  Outcome outcome;
  const bool keep = request.keep_open;
  const auto id = engine.Submit(std::move(request));
  EXPECT_TRUE(id.ok()) << id.status().ToString();
  RunAll(engine, &outcome);
  outcome.result = engine.result(*id);
  if (!keep) engine.Release(*id);
  return outcome;
}

}  // namespace nosa::engine

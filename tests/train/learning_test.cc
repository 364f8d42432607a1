// A NOSA model of a million parameters learns a task on two processors within minutes, and the engine, reading selected
// blocks alone, answers what it learnt.
#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>

#include "base/clock.h"
#include "engine/engine.h"
#include "tests/train/small_trained.h"

namespace nosa::train {
namespace {

constexpr int kLength = 256;

TrainPlan Plan() {
  TrainPlan plan;
  plan.stages = {{.tokens = 176 * 1024, .length = 64, .attention = "full", .batch = 8},
                 {.tokens = 96 * 1024, .length = 128, .attention = "nosa", .batch = 4},
                 {.tokens = 256 * 1024, .length = kLength, .attention = "nosa", .batch = 4}};
  plan.rate = 2e-3;
  plan.weight_decay = 0;
  plan.init_scale = 0.05;
  plan.seed = 1;
  plan.out = FreshDirectory("learned");
  plan.save_every = 0;
  plan.eval_sequences = 8;
  return plan;
}

// The share of questions that the engine answers, one at the end of each of `count` texts.
double Answered(const std::filesystem::path& directory, const std::string& attention, int count) {
  const std::unique_ptr<ops::Backend> backend = cpu::MakeCpuBackend(2);
  model::LoadOptions load;
  load.backend = backend.get();
  const auto model = model::Model::Open(directory.string(), load);
  EXPECT_TRUE(model.ok()) << model.status().ToString();
  engine::EngineOptions options;
  options.attention.selector = attention;
  const auto engine = engine::Engine::Create(*model, nullptr, std::move(options), backend.get());
  EXPECT_TRUE(engine.ok()) << engine.status().ToString();
  const PlantedFacts task(99);  // texts that nobody learnt from
  int right = 0;
  for (int i = 0; i < count; ++i) {
    const PlantedFacts::Text text = task.MakeText(static_cast<uint64_t>(i), kLength - 1);
    engine::Request request;
    request.prompt.assign(text.tokens.begin(), text.tokens.end());
    request.prompt.push_back(PlantedFacts::kQuestions + text.names[0]);
    request.max_tokens = 1;
    request.ignore_eos = true;
    const auto id = (*engine)->Submit(std::move(request));
    EXPECT_TRUE(id.ok()) << id.status().ToString();
    std::vector<engine::Event> events;
    while ((*engine)->HasWork()) {
      const Status step = (*engine)->Step(&events);
      EXPECT_TRUE(step.ok()) << step.ToString();
    }
    right += (*engine)->result(*id).ids.front() == PlantedFacts::kAnswers + text.values[0] ? 1 : 0;
    (*engine)->Release(*id);
  }
  return static_cast<double>(right) / count;
}

// Of all threads: what the machine does beside does not count.
double ProcessorSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(Learning, AMillionParametersFindPlantedFactsThroughSelectedBlocks) {
  const auto workers = CpuWorkers(2);
  const Mixture data = Facts(7);
  Hooks hooks;
  hooks.on_step = [](const StepReport& step) {
    if (step.step % 20 == 0 || step.step == step.steps)
      std::printf("step %ld of %ld: loss %.3f\n", long(step.step), long(step.steps), step.loss);
  };
  const TrainPlan plan = Plan();
  const Stopwatch watch;
  const double before = ProcessorSeconds();
  const auto report = Train(plan, {.config = FactModel(192, 2), .init = {}}, data, Borrowed(workers), hooks);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  const double seconds = watch.Seconds(), processor_seconds = ProcessorSeconds() - before;
  const HeldOutReport& held_out = report->held_out.front();
  std::printf("%ld parameters, %ld tokens in %.0f s (%.0f s of processors); held out: loss %.3f, %ld of %ld right\n",
              long(report->parameters), long(report->tokens), seconds, processor_seconds, held_out.loss,
              long(held_out.right_answers), long(held_out.answers));
  const double sparse = Answered(plan.out, "nosa", 200), window = Answered(plan.out, "window", 200);
  std::printf("the engine answers %.1f %% with nosa, %.1f %% with window\n", 100 * sparse, 100 * window);
  EXPECT_GE(sparse, 0.95);
  EXPECT_LE(processor_seconds, 2 * 180) << "two processors for three minutes";
  // Most facts lie outside the blocks that everybody reads: the answers were found by selection.
  EXPECT_LE(window, 0.6);
}

}  // namespace
}  // namespace nosa::train

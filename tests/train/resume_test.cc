// A run that was stopped, or killed, goes on with the losses it would have had.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "io/file.h"
#include "io/json.h"
#include "tests/train/small_trained.h"
#include "train/checkpoint.h"

namespace nosa::train {
namespace {

constexpr int kSteps = 12;

TrainPlan SmallPlan(const std::filesystem::path& out) {
  TrainPlan plan;
  plan.stages = {{.tokens = 4 * 4 * 32, .length = 32, .attention = "full"},
                 {.tokens = 8 * 4 * 96, .length = 96, .attention = "nosa"}};
  plan.batch = 4;
  plan.micro_batch = 1;
  plan.recompute = true;
  plan.out = out;
  plan.save_every = 3;
  plan.eval_every = 4;
  plan.eval_sequences = 2;
  return plan;
}

Result<TrainReport> RunPlan(const TrainPlan& plan, const Hooks& hooks = {}, int workers = 2) {
  const auto backends = CpuWorkers(workers);
  return Train(plan, {.config = FactModel(64, 2), .other = {}, .init = {}}, Facts(3), Borrowed(backends), hooks);
}

// Losses as printed, by step; an evaluation's behind its step.
std::vector<std::string> Losses(const std::filesystem::path& out) {
  std::ifstream file(out / "log.jsonl");
  std::vector<std::string> losses;
  for (std::string line; std::getline(file, line);) {
    const auto json = io::ParseJson(line, "log.jsonl");
    EXPECT_TRUE(json.ok()) << line;
    losses.push_back(fmt::format("{}{} {}", (*json)["step"].get<int>(), json->contains("held_out") ? " held out" : "",
                                 (*json)["loss"].get<double>()));
  }
  return losses;
}

std::string Weights(const std::filesystem::path& out) { return io::ReadTextFile(out / "model.safetensors").value(); }

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path out = FreshDirectory("whole");
    const auto report = RunPlan(SmallPlan(out));
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    ASSERT_EQ(report->steps, kSteps);
    losses_ = Losses(out);
    weights_ = Weights(out);
    ASSERT_EQ(losses_.size(), static_cast<size_t>(kSteps + 3));
  }
  std::vector<std::string> losses_;
  std::string weights_;
};

TEST_F(Resume, AfterAStopAnywhereTheLossesAreTheSameBits) {
  for (const int stop_at : {1, 4, 7}) {
    SCOPED_TRACE(stop_at);
    TrainPlan plan = SmallPlan(FreshDirectory("stopped"));
    int64_t at = 0;
    Hooks hooks;
    hooks.on_step = [&](const StepReport& step) { at = step.step; };
    hooks.stop = [&] { return at == stop_at; };
    const auto stopped = RunPlan(plan, hooks);
    ASSERT_TRUE(stopped.ok()) << stopped.status().ToString();
    EXPECT_TRUE(stopped->stopped);
    EXPECT_EQ(stopped->steps, stop_at);
    plan.resume = true;
    const auto rest = RunPlan(plan);
    ASSERT_TRUE(rest.ok()) << rest.status().ToString();
    EXPECT_EQ(rest->steps, kSteps);
    EXPECT_EQ(Losses(plan.out), losses_);
    EXPECT_TRUE(Weights(plan.out) == weights_);
  }
}

constexpr char kKilledRun[] = "NOSA_TEST_KILLED_RUN";  // environment: the directory of the run below

// A process of its own, which the next test starts: one that LibTorch has given threads cannot be forked.
TEST(KilledRun, DISABLED_KillsItself) {
  const char* const out = std::getenv(kKilledRun);
  ASSERT_NE(out, nullptr) << "started by AfterSigkillTheLossesAreTheSameBits";
  Hooks hooks;
  hooks.on_step = [](const StepReport& step) {
    if (step.step == 8) ::kill(::getpid(), SIGKILL);
  };
  FAIL() << RunPlan(SmallPlan(out), hooks).status().ToString();
}

// Killed in the middle of a step, behind two checkpoints of which the second is being written: at any byte.
TEST_F(Resume, AfterSigkillTheLossesAreTheSameBits) {
  const TrainPlan begun = SmallPlan(FreshDirectory("killed"));
  ASSERT_EQ(::setenv(kKilledRun, begun.out.c_str(), 1), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::execl("/proc/self/exe", "killed-run", "--gtest_filter=KilledRun.*", "--gtest_also_run_disabled_tests", nullptr);
    ::_exit(1);
  }
  int how = 0;
  ASSERT_EQ(::waitpid(child, &how, 0), child);
  ASSERT_TRUE(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
  // What a write that was cut leaves: half a file under another name.
  const auto state = FindState(begun.out);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->filename(), "step-000000006.safetensors");
  const std::string whole = io::ReadTextFile(*state).value();
  const std::filesystem::path half = begun.out / "training-state" / "step-000000009.safetensors.tmp-1-0";
  std::ofstream(half, std::ios::binary) << whole.substr(0, whole.size() / 2);
  TrainPlan plan = begun;
  plan.resume = true;
  const auto rest = RunPlan(plan);
  ASSERT_TRUE(rest.ok()) << rest.status().ToString();
  EXPECT_EQ(Losses(plan.out), losses_);
  EXPECT_TRUE(Weights(plan.out) == weights_);
  EXPECT_FALSE(std::filesystem::exists(half));
}

TEST_F(Resume, AnotherRunIsRefusedByItsFirstDifference) {
  TrainPlan plan = SmallPlan(FreshDirectory("other"));
  plan.stages.resize(1);
  ASSERT_TRUE(RunPlan(plan).ok());
  const auto again = RunPlan(plan);
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(std::string(again.status().message()), testing::HasSubstr("holds a run already"));
  plan.resume = true;
  TrainPlan faster = plan;
  faster.rate = 0.5;
  const auto other = RunPlan(faster);
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(std::string(other.status().message()), testing::HasSubstr("another rate: 0.001, found 0.5"));
  const auto workers = RunPlan(plan, {}, 1);
  ASSERT_FALSE(workers.ok());
  EXPECT_THAT(std::string(workers.status().message()), testing::HasSubstr("workers"));
  EXPECT_TRUE(RunPlan(plan).ok()) << "nothing is left to do";
  TrainPlan nowhere = plan;
  nowhere.out = FreshDirectory("nowhere");
  const auto none = RunPlan(nowhere);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(std::string(none.status().message()), testing::HasSubstr("no run to resume"));
}

TEST(Divergence, StopsAndKeepsTheLastGoodCheckpoint) {
  TrainPlan plan = SmallPlan(FreshDirectory("diverged"));
  plan.stages[1].rate = 1e30;
  plan.warmup = 0;
  const auto report = RunPlan(plan);
  ASSERT_FALSE(report.ok());
  const std::string message(report.status().message());
  EXPECT_THAT(message, testing::ContainsRegex("of step [0-9]+ is -?(nan|inf)"));
  EXPECT_THAT(message, testing::HasSubstr("it begins in"));
  EXPECT_THAT(message, testing::HasSubstr("the checkpoint of step 3 in"));
  EXPECT_EQ(FindState(plan.out)->filename(), "step-000000003.safetensors");
}

TEST(Init, AnotherShapeNamesTheTensorAndBothShapes) {
  TrainPlan plan = SmallPlan(FreshDirectory("first"));
  ASSERT_TRUE(RunPlan(plan).ok());
  TrainPlan next = SmallPlan(FreshDirectory("second"));
  const auto backends = CpuWorkers(2);
  schema::ModelConfig wider = FactModel(64, 2);
  wider.intermediate_size += 8;
  const auto other = Train(next, {.config = wider, .other = {}, .init = plan.out}, Facts(3), Borrowed(backends));
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(std::string(other.status().message()),
              testing::ContainsRegex("gate_proj.weight \\[221, 64\\], found \\[213, 64\\]"));
  const auto same =
      Train(next, {.config = FactModel(64, 2), .other = {}, .init = plan.out}, Facts(3), Borrowed(backends));
  EXPECT_TRUE(same.ok()) << same.status().ToString();
}

TEST(Disk, FullWhileSavingIsASentence) {
  // A state file's name taken by a directory stands in for a disk that takes nothing: the rename fails.
  TrainPlan plan = SmallPlan(FreshDirectory("full"));
  std::filesystem::create_directories(plan.out / "model.safetensors" / "in the way");
  const auto report = RunPlan(plan);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(std::string(report.status().message()), testing::HasSubstr("model.safetensors"));
  EXPECT_TRUE(FindState(plan.out).has_value()) << "the state was whole before";
}

}  // namespace
}  // namespace nosa::train

// The evaluations through the engine, with the demo model.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "eval/perplexity.h"
#include "eval/recall.h"
#include "eval/run.h"
#include "eval/task_run.h"
#include "io/safetensors.h"
#include "tasks/corpus.h"
#include "tasks/words.h"

namespace nosa::eval {
namespace {

constexpr char kModel[] = NOSA_SOURCE_DIR "/models/nosa-21m";

class EngineDrivenTest : public testing::Test {
 protected:
  std::unique_ptr<engine::Engine> MakeEngine(engine::EngineOptions options = {}) {
    auto engine = engine::Engine::Create(model_, tokenizer_, std::move(options), backend_.get());
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    return std::move(engine).value();
  }
  tasks::RecallTask Task(int tokens, int facts) {
    const std::string text = tasks::JoinDocuments(*tasks::ReadCorpus({NOSA_SOURCE_DIR "/src/base"}), 60000, 1);
    return *tasks::BuildRecallTask(*tokenizer_, text, {.tokens = tokens, .facts = facts, .seed = 1});
  }
  std::vector<TokenId> Golden(const std::string& name) {
    const ConstTensorView view = *goldens_->Get(name);
    return {view.row<TokenId>(0), view.row<TokenId>(0) + view.shape().elements()};
  }

  std::unique_ptr<ops::Backend> backend_ = cpu::MakeCpuBackend(2);
  std::shared_ptr<const model::Model> model_ = *model::Model::Open(kModel, {.dtype = DType::kF32, .sparse = {}});
  std::shared_ptr<const text::Tokenizer> tokenizer_ =
      *text::Tokenizer::FromFile(std::string(kModel) + "/tokenizer.json");
  std::shared_ptr<const io::Safetensors> goldens_ =
      *io::Safetensors::OpenFile(std::string(kModel) + "/goldens.safetensors");
};

const auto kGoOn = [](const auto&...) { return true; };

TEST(NextTokenLossTest, IsTheNegativeLogOfSoftmax) {
  const std::vector<float> logits = {1, 2, 3};
  const double sum = std::exp(1.0) + std::exp(2.0) + std::exp(3.0);
  for (TokenId i = 0; i < 3; ++i) EXPECT_NEAR(NextTokenLoss(logits, i), -std::log(std::exp(i + 1.0) / sum), 1e-12);
  EXPECT_NEAR(NextTokenLoss(std::vector<float>{30000, 29999}, 1), 1 + std::log1p(std::exp(-1.0)), 1e-12)
      << "large logits do not overflow";
  EXPECT_NEAR(NextTokenLoss(std::vector<float>{0, -30000}, 0), 0, 1e-12);
  EXPECT_TRUE(std::isnan(NextTokenLoss(std::vector<float>{0, NAN}, 0)));
}

TEST_F(EngineDrivenTest, PerplexityIsTheGoldens) {
  const auto engine = MakeEngine();
  for (const std::string prompt : {"70", "2500"}) {
    const std::vector<TokenId> ids = Golden(prompt + ".prompt");
    const auto report = MeasurePerplexity(*engine, ids, 1000, kGoOn);
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    EXPECT_NEAR(report->loss, goldens_->Get(prompt + ".nosa.ppl_nll")->row<float>(0)[0], 1e-4);
    EXPECT_EQ(report->tokens, static_cast<int>(ids.size()) - 1);
    double sum = 0;
    int tokens = 0;
    for (const LossBucket& bucket : report->buckets) {
      EXPECT_EQ(bucket.first, tokens);
      tokens += bucket.tokens;
      sum += bucket.loss * bucket.tokens;
    }
    EXPECT_EQ(tokens, report->tokens);
    EXPECT_NEAR(sum / tokens, report->loss, 1e-9);
  }
}

TEST_F(EngineDrivenTest, PerplexityRefusesAndIsInterrupted) {
  const auto engine = MakeEngine();
  EXPECT_EQ(MeasurePerplexity(*engine, std::vector<TokenId>{5}, 100, kGoOn).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(MeasurePerplexity(*engine, std::vector<TokenId>{5, 8192}, 100, kGoOn).status().code(),
            StatusCode::kInvalidArgument);
  const std::vector<TokenId> ids = Golden("2500.prompt");
  const auto given_up = MeasurePerplexity(*engine, ids, 100, [](int done, int) { return done > 600; });
  EXPECT_EQ(given_up.status().code(), StatusCode::kCancelled);
  EXPECT_FALSE(engine->HasWork());
}

TEST_F(EngineDrivenTest, RecallAnswersAreThoseOfOnePromptEach) {
  const tasks::RecallTask task = Task(1024, 2);
  const auto engine = MakeEngine();
  int told = 0;
  const auto report = RunRecall(*engine, task, [&](const RecallProgress& progress) {
    if (progress.answer == nullptr) return true;
    std::vector<TokenId> expected = task.document;
    expected.insert(expected.end(), progress.fact->question.begin(), progress.fact->question.end());
    expected.insert(expected.end(), progress.answer->ids.begin(), progress.answer->ids.end());
    EXPECT_EQ(engine->tokens(engine::RequestId(0)), expected)
        << "the whole document, this question and nothing of those before it";
    ++told;
    return true;
  });
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ(told, 2);
  EXPECT_EQ(report->answers.size(), 2u);
  EXPECT_GE(report->correct(), 1) << "the card says 91 % at 4,096 tokens";
  EXPECT_EQ(report->reading.tokens, static_cast<int64_t>(task.document.size()));
  EXPECT_GT(report->decode.tokens, 0);
  EXPECT_EQ(report->kv_bytes, 2u * 8 * 17 * (64 * 64 * 4 * 2 + 64 * 4))
      << "17 blocks of 64 tokens, keys, values and importance";
  for (size_t i = 0; i < task.facts.size(); ++i) {
    EXPECT_EQ(report->answers[i].ok, report->answers[i].text == task.facts[i].number);
    engine::Request request;
    request.prompt = task.document;
    request.prompt.insert(request.prompt.end(), task.facts[i].question.begin(), task.facts[i].question.end());
    request.max_tokens = tasks::kRecallAnswerTokens;
    request.stop = {".", "\n"};
    const auto id = engine->Submit(std::move(request));
    ASSERT_TRUE(id.ok());
    std::vector<engine::Event> events;
    while (engine->HasWork()) ASSERT_TRUE(engine->Step(&events).ok());
    EXPECT_EQ(engine->result(*id).ids, report->answers[i].ids) << task.facts[i].word;
    engine->Release(*id);
  }
}

TEST_F(EngineDrivenTest, ATruthThatIsAnotherNumberIsNotRecalled) {
  tasks::RecallTask task = Task(1024, 2);
  const auto engine = MakeEngine();
  const RecallReport report = *RunRecall(*engine, task, kGoOn);
  for (tasks::Fact& fact : task.facts) fact.number = "00000";
  const RecallReport wrong = *RunRecall(*engine, task, kGoOn);
  EXPECT_GE(report.correct(), 1);
  EXPECT_EQ(wrong.correct(), 0);
  EXPECT_EQ(wrong.fingerprint, report.fingerprint) << "the truth is not part of what was computed";
}

TEST_F(EngineDrivenTest, RecallIsTheSameFromDiskAndInterrupted) {
  const tasks::RecallTask task = Task(1200, 2);
  const auto in_ram = MakeEngine();
  const auto report = RunRecall(*in_ram, task, kGoOn);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ(report->while_answering.kv.blocks_fetched, 0u);

  engine::EngineOptions options;
  kv::TierOptions disk;
  disk.location = testing::TempDir();
  const kv::SequenceNeeds needs = model_->SequenceNeeds(task.reserve_tokens());
  options.cold = *kv::MakeTier("disk", disk);
  const uint64_t budget = MakeEngine(std::move(options))->store().SmallestBudget({&needs, 1});
  options = {};
  options.host_budget_bytes = budget;
  options.cold = *kv::MakeTier("disk", disk);
  const auto on_disk = MakeEngine(std::move(options));
  const auto offloaded = RunRecall(*on_disk, task, kGoOn);
  ASSERT_TRUE(offloaded.ok()) << offloaded.status().ToString();
  EXPECT_EQ(offloaded->fingerprint, report->fingerprint);
  EXPECT_GT(offloaded->while_answering.kv.blocks_fetched, 0u);
  EXPECT_LE(offloaded->while_answering.kv.host_peak_bytes, budget);
  EXPECT_LT(offloaded->while_answering.kv.lookups, on_disk->stats().kv.lookups) << "a difference, not all there was";
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(offloaded->answers[i].ids, report->answers[i].ids);

  const auto given_up = RunRecall(*in_ram, task, [](const RecallProgress& p) { return p.answer == nullptr; });
  EXPECT_EQ(given_up.status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(RunRecall(*in_ram, task, kGoOn).ok()) << "it gave back what it held";
}

TEST_F(EngineDrivenTest, TaskAnswersAndScoresAreThoseOfOnePromptEach) {
  const std::vector<TokenId> ids = tasks::EncodePiece(
      *tokenizer_, tasks::JoinDocuments(*tasks::ReadCorpus({NOSA_SOURCE_DIR "/src/base"}), 60000, 1));
  const tasks::Filler filler = *tasks::Filler::Make(tokenizer_, ids);
  tasks::Example example = *(*tasks::MakeTask("facts"))->Make(filler, {.tokens = 1024, .questions = 3, .seed = 1});
  example.questions[2].answer = tasks::EncodePiece(*tokenizer_, " 00000.");  // what the document does not say
  const auto engine = MakeEngine();
  const auto report = RunTask(*engine, *tokenizer_, example, kGoOn);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  ASSERT_EQ(report->answers.size(), 3u);
  EXPECT_GE(report->correct(), 1) << "the card says 91 % at 4,096 tokens";
  EXPECT_FALSE(report->answers[2].ok);
  EXPECT_EQ(report->answers[2].truth, "00000");
  EXPECT_EQ(report->reading.tokens, static_cast<int64_t>(example.document.size()));
  for (size_t i = 0; i < 3; ++i) {
    const TaskAnswer& answer = report->answers[i];
    const tasks::Question& question = example.questions[i];
    EXPECT_EQ(answer.ok, answer.text == answer.truth);
    EXPECT_EQ(answer.ok, answer.score.likeliest == answer.score.tokens) << "greedy is the likeliest";
    ASSERT_EQ(answer.score.tokens, static_cast<int>(question.answer.size()));
    // The loss of the whole as one text, less that of all but the answer.
    std::vector<TokenId> text = example.document;
    text.insert(text.end(), question.ids.begin(), question.ids.end());
    const PerplexityReport without = *MeasurePerplexity(*engine, text, 100, kGoOn);
    text.insert(text.end(), question.answer.begin(), question.answer.end());
    const PerplexityReport with = *MeasurePerplexity(*engine, text, 100, kGoOn);
    EXPECT_NEAR(answer.score.loss, with.loss * with.tokens - without.loss * without.tokens, 1e-2);
  }
  EXPECT_GT(report->answers[2].score.loss, 5) << "a number from nowhere is unlikely";
  const auto given_up = RunTask(*engine, *tokenizer_, example, [](int done, int total) { return done < total; });
  EXPECT_EQ(given_up.status().code(), StatusCode::kCancelled);
  EXPECT_FALSE(engine->HasWork());
}

TEST(DocumentWorkTest, AddsWhatSinceGivesTheDifferenceOf) {
  engine::EngineStats before, now;
  before.kv.lookups = 3;
  before.decode_locality = {.shared = 1.5, .queries = 2};
  now.kv.lookups = 10;
  now.kv.hits = 4;
  now.kv.bytes_fetched = 1000;
  now.kv.host_peak_bytes = 7;
  now.decode_locality = {.shared = 4.5, .queries = 8};
  now.recomputed_blocks = 2;
  engine::EngineStats sum = before;
  AddCounts(Since(now, before), &sum);
  EXPECT_EQ(sum.kv.lookups, 10u);
  EXPECT_EQ(sum.kv.hits, 4u);
  EXPECT_EQ(sum.kv.bytes_fetched, 1000u);
  EXPECT_EQ(sum.kv.host_peak_bytes, 7u);
  EXPECT_EQ(sum.decode_locality.shared, 4.5);
  EXPECT_EQ(sum.decode_locality.queries, 8);
  EXPECT_EQ(sum.recomputed_blocks, 2u);
}

}  // namespace
}  // namespace nosa::eval

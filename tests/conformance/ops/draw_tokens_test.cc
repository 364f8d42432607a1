#include "ops/draw_tokens.h"

#include <algorithm>
#include <set>

#include "compare.h"
#include "ops/draw_weight.h"

namespace nosa::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLeast = std::numeric_limits<float>::denorm_min(), kMost = std::numeric_limits<float>::max();

using Ids = TestVector<TokenId>;

struct Rows {
  explicit Rows(TensorView view) : logits(view), params(static_cast<size_t>(view.rows())), positions(params.size()) {
    for (size_t r = 0; r < positions.size(); ++r) positions[r] = static_cast<int32_t>(r);
  }

  Ids Draw(Backend& backend, int32_t ahead = 0) const {
    Ids ids(params.size(), -7);
    draw_tokens(backend, {}, {.logits = logits, .params = params, .positions = positions, .ahead = ahead, .ids = ids});
    return ids;
  }
  Ids Twin() const { return Draw(*reference::MakeReferenceBackend()); }

  TensorView logits;
  TestVector<DrawParams> params;
  TestVector<int32_t> positions;
};

// Draws of one row at the positions 0 .. draws.
struct Repeated {
  Repeated(const std::vector<float>& row, const DrawParams& params, int draws)
      : buffer(TestBuffer(row.size() * static_cast<size_t>(draws) * sizeof(float))),
        rows(buffer.View(DType::kF32, {draws, static_cast<int64_t>(row.size())})) {
    for (int64_t r = 0; r < draws; ++r) std::copy(row.begin(), row.end(), rows.logits.row<float>(r));
    std::fill(rows.params.begin(), rows.params.end(), params);
  }
  Buffer buffer;
  Rows rows;
};

std::set<TokenId> Drawn(Backend& backend, const std::vector<float>& row, const DrawParams& params) {
  const Ids ids = Repeated(row, params, 600).rows.Draw(backend);
  return {ids.begin(), ids.end()};
}

// Of every mix of parameters some.
DrawParams RandomParams(uint64_t i, int64_t vocab) {
  const Philox rng(i, 21);
  DrawParams params;
  if (rng.Uniform(0) < 0.9f) params.temperature = 0.2f + 2 * rng.Uniform(1);
  if (rng.Uniform(2) < 0.5f) params.top_k = 1 + static_cast<int32_t>(rng.Uniform(3) * static_cast<float>(vocab));
  if (rng.Uniform(4) < 0.3f) params.top_k = 1 + static_cast<int32_t>(rng.Uniform(5) * 50);
  if (rng.Uniform(6) < 0.6f) params.top_p = 0.05f + 0.95f * rng.Uniform(7);
  if (rng.Uniform(8) < 0.5f) params.min_p = 0.3f * rng.Uniform(9) * rng.Uniform(10);
  params.seed = uint64_t{rng.Block(11)[0]} << 32 | rng.Block(12)[0];
  return params;
}

void FillParams(Rows* rows) {
  for (size_t r = 0; r < rows->params.size(); ++r) {
    rows->params[r] = RandomParams(r, rows->logits.dim(1));
    rows->positions[r] = static_cast<int32_t>(r * r * 31);
  }
}

void ExpectTwin(const TargetCase& each, const Rows& rows, const Ids& expected) {
  const auto backend = each.Make();
  const Ids ids = rows.Draw(*backend);
  for (size_t r = 0; r < ids.size(); ++r) {
    const DrawParams& p = rows.params[r];
    ASSERT_EQ(ids[r], expected[r]) << each.name << " " << rows.logits.shape().ToString() << ", row " << r
                                   << ": temperature " << p.temperature << ", top_k " << p.top_k << ", top_p "
                                   << p.top_p << ", min_p " << p.min_p;
  }
}

// No tolerance: the token is the same everywhere.
TEST(DrawTokensTest, MatchesTwin) {
  for (const int64_t width : {1, 2, 15, 16, 17, 64, 65, 1023, 1025, 5000}) {
    for (const int64_t count : {0, 1, 33, 200}) {
      const RandomTensor logits(DType::kF32, {count, width}, 1, 3.0f);
      for (int64_t i = 0; i < count * width; ++i) {
        float& x = logits.view.row<float>(0)[i];
        if (i / width % 3 == 1) x = std::round(x);  // many ties, zeros of both signs
        if (i / width % 3 == 2 && i % 7 == 3) x = kNan;
        if (i / width % 3 == 2 && i % 11 == 5) x = i % 2 == 0 ? kInf : -kInf;
      }
      Rows rows(logits.view);
      FillParams(&rows);
      const Ids expected = rows.Twin();
      for (const TargetCase& each : TargetCases()) ExpectTwin(each, rows, expected);
    }
  }
}

// As many tokens as models have.
TEST(DrawTokensTest, MatchesTwinOnWholeVocabularies) {
  for (const int64_t width : {73448, 151936, 151937}) {
    const RandomTensor logits(DType::kF32, {24, width}, 2, 3.0f);
    for (int64_t i = 0; i < width; ++i) {
      logits.view.row<float>(5)[i] = 1.5f;
      logits.view.row<float>(6)[i] = i < width / 2 ? 1.5f : 1.5f - 0x1p-20f;
      logits.view.row<float>(7)[i] *= 1e-5f;
    }
    Rows rows(logits.view);
    FillParams(&rows);
    for (const size_t flat : {5, 6, 7}) rows.params[flat].temperature = 0.8f;
    rows.params[5].top_k = 40'000;
    rows.params[6].top_k = static_cast<int32_t>(width / 2) + 1000;
    rows.params[7].top_p = 0.7f;
    const Ids expected = rows.Twin();
    for (const TargetCase& each : TargetCases()) ExpectTwin(each, rows, expected);
  }
}

// Every edge of a parameter with every edge of the others.
TEST(DrawTokensTest, MatchesTwinAtTheEdges) {
  constexpr int32_t kWidth = 300;
  std::vector<DrawParams> all;
  for (const float temperature : {0.0f, kLeast, 1e-30f, 0.01f, 1.0f, 100.0f, kMost}) {
    for (const int32_t top_k : {0, 1, 2, 150, kWidth - 1, kWidth, kWidth + 1, INT32_MAX}) {
      for (const float top_p : {1e-30f, 1e-6f, 0.5f, 0.999999f, 1.0f}) {
        for (const float min_p : {0.0f, 1e-30f, 0.2f, 1.0f}) all.push_back({temperature, top_k, top_p, min_p, 5});
      }
    }
  }
  for (const bool tied : {false, true}) {
    const RandomTensor logits(DType::kF32, {static_cast<int64_t>(all.size()), kWidth}, 3, 2.0f);
    for (int64_t i = 0; i < logits.view.shape().elements(); ++i) {
      float& x = logits.view.row<float>(0)[i];
      if (tied) x = std::round(x);
    }
    Rows rows(logits.view);
    std::copy(all.begin(), all.end(), rows.params.begin());
    const Ids expected = rows.Twin();
    for (const TargetCase& each : TargetCases()) ExpectTwin(each, rows, expected);
  }
}

// Rows apart from each other, and not where four floats could be loaded at once; nothing between them is read.
TEST(DrawTokensTest, RowsMayLieApart) {
  constexpr int64_t kRows = 40, kWidth = 77;
  for (const int64_t stride : {77, 80, 83}) {
    for (const int64_t offset : {0, 1}) {
      const Buffer buffer = TestBuffer(static_cast<size_t>(kRows * stride + offset) * sizeof(float));
      float* data = buffer.as<float>() + offset;
      for (int64_t i = 0; i < kRows * stride; ++i)
        data[i] = i % stride < kWidth ? Philox(4).Normal(static_cast<uint64_t>(i)) : 50.0f;
      Rows rows(TensorView(data, DType::kF32, {kRows, kWidth}, stride));
      FillParams(&rows);
      const Ids expected = rows.Twin();
      for (const TargetCase& each : TargetCases()) ExpectTwin(each, rows, expected);
    }
  }
}

TEST(DrawTokensTest, GreedyTakesTheLowestOfTheLargestThatAreNumbers) {
  for (const TargetCase& each : TargetsAndReference()) {
    const auto backend = each.Make();
    for (const int64_t width : {2, 16, 17, 31, 70}) {
      SCOPED_TRACE(fmt::format("{} {}", each.name, width));
      const RandomTensor logits(DType::kF32, {8, width}, 1);
      for (int64_t i = 0; i < width; ++i) {
        const bool last = i + 1 == width;
        logits.view.row<float>(0)[i] = kNan;
        logits.view.row<float>(1)[i] = 2.0f;
        logits.view.row<float>(2)[i] = last ? -kMost : kNan;
        logits.view.row<float>(3)[i] = i == 0 ? kNan : -3.0f;
        logits.view.row<float>(4)[i] = last ? 1.0f : kInf;
        logits.view.row<float>(5)[i] = i == 0 ? -0.0f : 0.0f;
        logits.view.row<float>(6)[i] = -kInf;
        logits.view.row<float>(7)[i] = last ? kMost : 1e38f;
      }
      Rows rows(logits.view);
      const TokenId last = static_cast<TokenId>(width - 1);
      const Ids expected = {0, 0, last, 1, last, 0, 0, last};
      for (DrawParams& params : rows.params) params = {.top_k = 3, .top_p = 0.5f, .min_p = 1, .seed = 4};
      EXPECT_EQ(rows.Draw(*backend), expected);
      // What draws from one token alone gives that one.
      for (const DrawParams& one :
           {DrawParams{.temperature = 1, .top_k = 1}, DrawParams{.temperature = 1, .top_p = 1e-9f},
            DrawParams{.temperature = kLeast, .top_k = 1}}) {
        std::fill(rows.params.begin(), rows.params.end(), one);
        EXPECT_EQ(rows.Draw(*backend), expected);
      }
    }
  }
}

// The cuts, at values that are known beforehand.
TEST(DrawTokensTest, EachCutKeepsWhatItSays) {
  const std::vector<float> known = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  const std::vector<float> tied = {1, 5, 3, 5, 3, 3};
  using Set = std::set<TokenId>;
  for (const TargetCase& each : TargetsAndReference()) {
    SCOPED_TRACE(each.name);
    const auto backend = each.Make();
    const auto top_k = [&](int32_t k) { return Drawn(*backend, tied, {.temperature = 2, .top_k = k}); };
    EXPECT_EQ(top_k(1), (Set{1})) << "ties to the lower id";
    EXPECT_EQ(top_k(2), (Set{1, 3}));
    EXPECT_EQ(top_k(3), (Set{1, 2, 3}));
    EXPECT_EQ(top_k(4), (Set{1, 2, 3, 4}));
    EXPECT_EQ(top_k(5), (Set{1, 2, 3, 4, 5}));
    for (const int32_t all : {0, 6, 7}) EXPECT_EQ(top_k(all), (Set{0, 1, 2, 3, 4, 5}));

    const auto top_p = [&](float p) { return Drawn(*backend, known, {.temperature = 1, .top_p = p}); };
    EXPECT_EQ(top_p(0.001f), (Set{1}));
    EXPECT_EQ(top_p(0.39f), (Set{1}));
    EXPECT_EQ(top_p(0.41f), (Set{1, 3}));
    EXPECT_EQ(top_p(0.69f), (Set{1, 3}));
    EXPECT_EQ(top_p(0.71f), (Set{1, 2, 3}));
    EXPECT_EQ(top_p(0.91f), (Set{0, 1, 2, 3}));
    EXPECT_EQ(Drawn(*backend, {7, 7, 7, 7}, {.temperature = 1, .top_p = 0.5f}), (Set{0, 1}))
        << "ties, and just reached";
    EXPECT_EQ(Drawn(*backend, {7, 7, 7, 7}, {.temperature = 1, .top_p = 0.500001f}), (Set{0, 1, 2}));
    EXPECT_EQ(Drawn(*backend, known, {.temperature = 1, .top_k = 2, .top_p = 0.58f}), (Set{1, 3}))
        << "of what top_k left";
    EXPECT_EQ(Drawn(*backend, known, {.temperature = 1, .top_k = 2, .top_p = 0.56f}), (Set{1}));

    const auto min_p = [&](float p) { return Drawn(*backend, known, {.temperature = 1, .min_p = p}); };
    EXPECT_EQ(min_p(1), (Set{1}));
    EXPECT_EQ(min_p(0.76f), (Set{1}));
    EXPECT_EQ(min_p(0.74f), (Set{1, 3}));
    EXPECT_EQ(min_p(0.49f), (Set{1, 2, 3}));
    EXPECT_EQ(min_p(0.24f), (Set{0, 1, 2, 3}));
    EXPECT_EQ(Drawn(*backend, {2, 2, 1}, {.temperature = 1, .min_p = 1}), (Set{0, 1}))
        << "equals of the likeliest stay";
    EXPECT_EQ(Drawn(*backend, known, {.temperature = 0.5f, .min_p = 0.5f}), (Set{1, 3})) << "after the temperature";

    EXPECT_EQ(Drawn(*backend, {kNan, 1, kInf, 2, -kInf}, {.temperature = 1}), (Set{1, 3}));
    EXPECT_EQ(Drawn(*backend, {0, -26, -28}, {.temperature = 1e6f}), (Set{0, 1, 2}));
    EXPECT_EQ(Drawn(*backend, {kMost, -kMost}, {.temperature = 100}), (Set{0}));
  }
}

// Above this the sum of squares is that of other probabilities; chance gets there once in 10,000 tests
// (Wilson and Hilferty's cube-root approximation).
double ChiSquareLimit(int freedom) {
  const double k = freedom, c = 2.0 / (9.0 * k);
  return k * std::pow(1 - c + 3.719 * std::sqrt(c), 3);
}

TEST(DrawTokensTest, DrawsHaveTheProbabilitiesOfTheSoftmax) {
  constexpr int kDraws = 20000;
  const std::vector<float> row = {0.5f, -1, 2, 0, 1.5f, -3, 1, 0.25f, 2, -kInf, 1.75f};
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    for (const float temperature : {0.5f, 1.0f, 3.0f}) {
      for (const uint64_t seed : {0, 1, 77}) {
        SCOPED_TRACE(fmt::format("{} temperature {} seed {}", each.name, temperature, seed));
        std::vector<double> expected;
        double sum = 0;
        for (const float x : row) sum += expected.emplace_back(std::exp(static_cast<double>(x) / temperature));
        std::vector<int> seen(row.size());
        for (const TokenId id : Repeated(row, {.temperature = temperature, .seed = seed}, kDraws).rows.Draw(*backend))
          ++seen[static_cast<size_t>(id)];
        double chi_square = 0;
        int cells = 0;
        for (size_t i = 0; i < row.size(); ++i) {
          const double mean = kDraws * expected[i] / sum;
          if (mean == 0) {
            EXPECT_EQ(seen[i], 0);
          } else if (mean >= 1) {
            chi_square += (seen[i] - mean) * (seen[i] - mean) / mean;
            ++cells;
          }
        }
        EXPECT_LT(chi_square, ChiSquareLimit(cells - 1));
      }
    }
  }
}

// A draw is that of its seed and position, wherever its row is and whatever the other rows ask for.
TEST(DrawTokensTest, ARowDependsOnItselfAlone) {
  constexpr int64_t kRows = 50, kWidth = 500;
  const RandomTensor logits(DType::kF32, {kRows, kWidth}, 6);
  for (const TargetCase& each : TargetsAndReference()) {
    SCOPED_TRACE(each.name);
    const auto backend = each.Make();
    Rows rows(logits.view);
    FillParams(&rows);
    const Ids together = rows.Draw(*backend);
    for (int64_t r = 0; r < kRows; ++r) {
      Rows alone(logits.view.Rows(r, 1));
      alone.params[0] = rows.params[static_cast<size_t>(r)];
      alone.positions[0] = rows.positions[static_cast<size_t>(r)] - 3;
      ASSERT_EQ(alone.Draw(*backend, 3)[0], together[static_cast<size_t>(r)]) << "row " << r;
    }
    for (int32_t& position : rows.positions) ++position;
    EXPECT_NE(rows.Draw(*backend), together);
    for (int32_t& position : rows.positions) --position;
    for (DrawParams& params : rows.params) ++params.seed;
    EXPECT_NE(rows.Draw(*backend), together);
  }
}

// What a recording reads at each run: logits, parameters and positions.
TEST(DrawTokensTest, ARecordingDrawsByWhatIsThere) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    if (!backend->records_graphs()) continue;
    const RandomTensor logits(DType::kF32, {8, 2000}, 7);
    Rows rows(logits.view);
    Ids ids(8);
    const DrawTokensArgs args = {.logits = rows.logits, .params = rows.params, .positions = rows.positions, .ids = ids};
    draw_tokens(*backend, {}, args);
    backend->Synchronize({});
    backend->BeginGraph({});
    draw_tokens(*backend, {}, args);
    const std::unique_ptr<Graph> graph = backend->EndGraph({}).value();
    for (uint64_t run = 0; run < 6; ++run) {
      for (size_t r = 0; r < rows.params.size(); ++r) rows.params[r] = RandomParams(run * 8 + r, 2000);
      for (int32_t& position : rows.positions) position += 5;
      for (int64_t i = 0; i < 16000; ++i)
        rows.logits.row<float>(0)[i] += 0.1f * Philox(run).Normal(static_cast<uint64_t>(i));
      backend->Run(*graph, {});
      backend->Synchronize({});
      EXPECT_EQ(ids, rows.Twin()) << each.name << ", run " << run;
    }
  }
}

TEST(DrawTokensDeathTest, SizesMustAgree) {
  const auto backend = reference::MakeReferenceBackend();
  const RandomTensor logits(DType::kF32, {2, 5}, 1), none(DType::kF32, {2, 0}, 1);
  std::vector<DrawParams> params(2);
  std::vector<int32_t> positions(2);
  std::vector<TokenId> ids(3);
  const std::span<TokenId> two = std::span(ids).first(2);
  EXPECT_DEATH(draw_tokens(*backend, {}, {.logits = logits.view, .params = params, .positions = positions, .ids = ids}),
               "2 parameters, 2 positions, 3 ids");
  EXPECT_DEATH(draw_tokens(*backend, {}, {.logits = none.view, .params = params, .positions = positions, .ids = two}),
               "found logits \\[2, 0\\]");
}

}  // namespace
}  // namespace nosa::ops

#include "ops/select_blocks.h"

#include "seat_problem.h"

namespace nosa::ops {
namespace {

struct SelectShape {
  int block, kernel_size, kernel_stride;
  int dim, group, kv_heads;
  DType summary;
  std::string Name() const {
    return fmt::format("B {} ks {} st {} D {} g {} G {} {}", block, kernel_size, kernel_stride, dim, group, kv_heads,
                       DTypeName(summary));
  }
};

const SelectShape kShapes[] = {
    {64, 32, 16, 128, 16, 1, DType::kBF16}, {64, 32, 16, 128, 4, 2, DType::kBF16}, {64, 32, 16, 64, 4, 2, DType::kF32},
    {64, 32, 16, 64, 3, 2, DType::kBF16},   {64, 32, 16, 64, 16, 1, DType::kBF16}, {16, 8, 4, 40, 4, 2, DType::kBF16},
    {16, 8, 4, 5, 1, 3, DType::kF32},       {16, 16, 16, 128, 1, 2, DType::kF32},  {12, 18, 6, 40, 3, 1, DType::kF32},
    {16, 8, 4, 128, 9, 1, DType::kBF16},
};

const SelectionRule kRules[] = {
    {.init_blocks = 1, .local_blocks = 16, .query_blocks = 33, .topk = 64},
    {.init_blocks = 1, .local_blocks = 4, .query_blocks = 13, .topk = 32},
    {.init_blocks = 2, .local_blocks = 3, .query_blocks = 20, .topk = 0},
    {.init_blocks = 1, .local_blocks = 2, .query_blocks = 0, .topk = 11},
    {.init_blocks = 1, .local_blocks = 4, .query_blocks = 0, .topk = 0},
    {.init_blocks = 0, .local_blocks = 0, .query_blocks = 1, .topk = 2},
    {.init_blocks = 4, .local_blocks = 8, .query_blocks = 10, .topk = 12},  // the forced ones are more than that
    {.every_block = true},
};

std::string Name(const SelectionRule& rule) {
  return rule.every_block
             ? "every block"
             : fmt::format("rule {} {} {} {}", rule.init_blocks, rule.local_blocks, rule.query_blocks, rule.topk);
}

// A cut this close, relative to the score, may fall either way. A logit is a sum of D products; two bf16 terms of q
// lose 2^-18 of each, and f32 sums of up to 128 lose less; |q| < 12, |k| < 6 and the scale is 1 / sqrt(D), and
// roundings have no direction, so that D of them add as their root. A score moves by the share that its logits move by.
constexpr double kTooClose = 72 * 0x1p-18;

// Summaries of one lane, NaN from the first window on that does not exist yet.
struct Lane {
  TestVector<std::byte> keys;
  TestVector<float> sigma;
};

enum class Scores { kRandom, kTied, kFew };

class Problem {
 public:
  // kTied: every window has the same score by Q. kFew: E has five values, one of them -inf.
  Problem(const SelectShape& shape, std::vector<int32_t> positions, Scores scores)
      : shape_(shape),
        positions_(positions.begin(), positions.end()),
        q_(DType::kF32, {seats(), int64_t{shape.group} * shape.kv_heads, shape.dim}, 5,
           scores == Scores::kTied ? 0 : 1) {
    max_blocks_ = *std::max_element(positions.begin(), positions.end()) / shape.block + 1;
    lanes_.resize(static_cast<size_t>(seats() * shape.kv_heads));
    for (size_t i = 0; i < lanes_.size(); ++i) {
      Lane& lane = lanes_[i];
      const int windows = WindowsAt(positions_[i / static_cast<size_t>(shape.kv_heads)]);
      const int64_t tiles = static_cast<int64_t>(CeilDiv(std::max(windows, 1), kWindowTile));
      lane.keys.resize(static_cast<size_t>(tiles * shape.dim * kWindowTile) * DTypeBytes(shape.summary));
      const Philox rng(31, i);
      for (int64_t at = 0; at < tiles * shape.dim * kWindowTile; ++at) {
        const int64_t w = at / (shape.dim * kWindowTile) * kWindowTile + at % kWindowTile;
        StoreFloat(lane.keys.data(), shape.summary, static_cast<size_t>(at),
                   w < windows ? rng.Normal(static_cast<uint64_t>(at)) : NAN);
      }
      lane.sigma.assign(static_cast<size_t>(windows) + 1, NAN);
      for (int w = 0; w < windows; ++w) {
        const int kind = Draw(rng, static_cast<uint64_t>(w) + (uint64_t{1} << 40), 5);
        const float few = kind == 4 ? -INFINITY : static_cast<float>(kind);
        lane.sigma[static_cast<size_t>(w)] =
            scores == Scores::kFew ? few : rng.Normal(static_cast<uint64_t>(w) + (uint64_t{1} << 41));
      }
      states_.push_back({lane.keys.data(), lane.sigma.data(), nullptr});
    }
  }

  struct Result {
    TestVector<int32_t> ids, counts;
    int width;
    std::vector<int32_t> Of(int lane) const {
      const int32_t* first = ids.data() + lane * width;
      return {first, first + counts[static_cast<size_t>(lane)]};
    }
  };
  // `slack`: room in the lists beyond the widest selection.
  Result Run(Backend& backend, const SelectionRule& rule, int slack = 0) const {
    Result out;
    out.width = SelectionWidth(rule, max_blocks_) + slack;
    out.ids.assign(static_cast<size_t>(lanes() * out.width) + 1, -5);
    out.counts.assign(static_cast<size_t>(lanes()) + 1, -5);
    select_blocks(backend, {},
                  {.q = q_.view,
                   .positions = positions_,
                   .states = states_,
                   .rule = rule,
                   .kv_heads = shape_.kv_heads,
                   .block_size = shape_.block,
                   .kernel_size = shape_.kernel_size,
                   .kernel_stride = shape_.kernel_stride,
                   .max_blocks = max_blocks_,
                   .scale = Scale(),
                   .summary_dtype = shape_.summary,
                   .selection = {out.ids.data(), out.counts.data(), out.width}});
    EXPECT_EQ(out.ids.back(), -5);
    EXPECT_EQ(out.counts.back(), -5);
    return out;
  }

  struct Expected {
    std::vector<int32_t> blocks;
    bool close = false;  // a cut by Q that rounding may decide
  };
  // By the words of the header, in double.
  Expected Select(int lane, const SelectionRule& rule) const {
    Expected expected;
    const int32_t pos = positions_[static_cast<size_t>(lane / shape_.kv_heads)];
    if (pos < 0) return expected;
    const int own = pos / shape_.block;
    std::vector<bool> in(static_cast<size_t>(own) + 1, false);
    for (int b = 0; b <= own; ++b)
      in[static_cast<size_t>(b)] = rule.every_block || b < rule.init_blocks || own - b <= rule.local_blocks;
    if (!rule.every_block && rule.query_blocks > 0)
      expected.close = Fill(BlockScores(WindowScores(lane), own + 1), rule.query_blocks, &in);
    if (!rule.every_block && rule.topk > 0) {
      const Lane& all = lanes_[static_cast<size_t>(lane)];
      Fill(BlockScores({all.sigma.begin(), all.sigma.end() - 1}, own + 1), rule.topk, &in);
    }
    for (int b = 0; b <= own; ++b) {
      if (in[static_cast<size_t>(b)]) expected.blocks.push_back(b);
    }
    return expected;
  }

  int seats() const { return static_cast<int>(positions_.size()); }
  int lanes() const { return seats() * shape_.kv_heads; }

 private:
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.dim)); }
  int WindowsAt(int32_t pos) const {
    return pos + 1 < shape_.kernel_size ? 0 : (pos + 1 - shape_.kernel_size) / shape_.kernel_stride + 1;
  }

  std::vector<double> WindowScores(int lane) const {
    const int seat = lane / shape_.kv_heads, g = lane % shape_.kv_heads;
    const int windows = WindowsAt(positions_[static_cast<size_t>(seat)]);
    const std::byte* keys = lanes_[static_cast<size_t>(lane)].keys.data();
    std::vector<double> scores(static_cast<size_t>(windows), 0.0);
    for (int h = 0; h < shape_.group; ++h) {
      std::vector<double> logits;
      double sum = 0, max = -INFINITY;
      const int64_t head = (static_cast<int64_t>(seat) * shape_.kv_heads + g) * shape_.group + h;
      for (int w = 0; w < windows; ++w) {
        double dot = 0;
        for (int64_t d = 0; d < shape_.dim; ++d) {
          const int64_t at = (w / kWindowTile * int64_t{shape_.dim} + d) * kWindowTile + w % kWindowTile;
          dot += static_cast<double>(q_.At(head * shape_.dim + d)) *
                 static_cast<double>(LoadFloat(keys, shape_.summary, static_cast<size_t>(at)));
        }
        logits.push_back(dot * static_cast<double>(Scale()));
        max = std::max(max, logits.back());
      }
      for (double& logit : logits) sum += logit = std::exp(logit - max);
      for (size_t w = 0; w < logits.size(); ++w) scores[w] += logits[w] / sum;
    }
    return scores;
  }

  // A window covers every block that it reaches into: the ones of its tokens, up to a stride.
  std::vector<double> BlockScores(const std::vector<double>& windows, int blocks) const {
    const int per_block = shape_.block / shape_.kernel_stride;
    std::vector<double> scores(static_cast<size_t>(blocks), -INFINITY);
    for (int b = 0; b < blocks; ++b) {
      for (int w = 0; w < static_cast<int>(windows.size()); ++w) {
        if (w < b * per_block - 1 || w >= (b + 1) * per_block) continue;
        scores[static_cast<size_t>(b)] = std::max(scores[static_cast<size_t>(b)], windows[static_cast<size_t>(w)]);
      }
    }
    return scores;
  }

  // True when another choice is within rounding.
  static bool Fill(const std::vector<double>& scores, int members, std::vector<bool>* in) {
    std::vector<int> others;
    for (size_t b = 0; b < in->size(); ++b) {
      if (!(*in)[b]) others.push_back(static_cast<int>(b));
    }
    const int left = members - (static_cast<int>(in->size()) - static_cast<int>(others.size()));
    if (left <= 0) return false;
    const auto score = [&](int b) { return scores[static_cast<size_t>(b)]; };
    std::stable_sort(others.begin(), others.end(), [&](int a, int b) { return score(a) > score(b); });
    for (int i = 0; i < std::min(left, static_cast<int>(others.size())); ++i)
      (*in)[static_cast<size_t>(others[static_cast<size_t>(i)])] = true;
    if (left >= static_cast<int>(others.size())) return false;
    const double cut = score(others[static_cast<size_t>(left - 1)]);
    if (cut == -INFINITY) return false;
    // Equal ones are blocks that share a window, or all of them: equal to every backend.
    return std::any_of(others.begin(), others.end(), [&](int b) {
      return score(b) != cut && std::abs(score(b) - cut) <= kTooClose * cut &&
             (score(b) < cut || score(others[static_cast<size_t>(left)]) == cut ||
              score(others[static_cast<size_t>(left)]) >= cut * (1 - kTooClose));
    });
  }

  SelectShape shape_;
  TestVector<int32_t> positions_;
  RandomTensor q_;
  int max_blocks_ = 0;
  std::vector<Lane> lanes_;
  TestVector<WindowState> states_;
};

struct Tally {
  int lanes = 0, skipped = 0;
};

// The twin against the header's words, then every backend against the same.
void Compare(const Problem& problem, const SelectionRule& rule, Tally* tally) {
  const auto reference = reference::MakeReferenceBackend();
  const Problem::Result twin = problem.Run(*reference, rule);
  std::vector<bool> close;
  for (int lane = 0; lane < problem.lanes(); ++lane) {
    const Problem::Expected expected = problem.Select(lane, rule);
    close.push_back(expected.close);
    ++tally->lanes;
    tally->skipped += expected.close ? 1 : 0;
    if (!expected.close) {
      ASSERT_EQ(twin.Of(lane), expected.blocks) << "the twin, lane " << lane;
    }
    ASSERT_EQ(twin.Of(lane).size(), expected.blocks.size()) << "the twin, lane " << lane;
  }
  for (const BackendCase& backend : BackendCases()) {
    SCOPED_TRACE(backend.name);
    const Problem::Result found = problem.Run(*backend.make(), rule, 3);
    for (int lane = 0; lane < problem.lanes(); ++lane) {
      ASSERT_EQ(found.Of(lane).size(), twin.Of(lane).size()) << "lane " << lane;
      if (!close[static_cast<size_t>(lane)]) {
        ASSERT_EQ(found.Of(lane), twin.Of(lane)) << "lane " << lane;
      }
    }
  }
}

std::vector<int32_t> Positions(const SelectShape& s) {
  const int b = s.block;
  return {0,          s.kernel_size - 1, -1,         std::max(0, s.kernel_size - 2), b - 1, b, 12 * b - 1, 40 * b,
          70 * b + 1, 95 * b + b / 2,    128 * b - 1};
}

TEST(select_blocks, MatchesTwin) {
  Tally tally;
  for (const SelectShape& shape : kShapes) {
    const Problem problem(shape, Positions(shape), Scores::kRandom);
    for (const SelectionRule& rule : kRules) {
      SCOPED_TRACE(shape.Name() + ", " + Name(rule));
      Compare(problem, rule, &tally);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_LE(tally.skipped * 50, tally.lanes);
  std::printf("%d of %d lanes have a cut too close to call\n", tally.skipped, tally.lanes);
}

// Contexts whose windows many CTAs share.
TEST(select_blocks, LongContexts) {
  Tally tally;
  for (const SelectShape& shape : {kShapes[0], kShapes[1], kShapes[3], kShapes[6]}) {
    const Problem problem(shape, {1100 * shape.block - 1, 530 * shape.block + 3, -1, 1023 * shape.block},
                          Scores::kRandom);
    for (const int rule : {0, 2, 3, 7}) {
      SCOPED_TRACE(shape.Name() + ", " + Name(kRules[rule]));
      Compare(problem, kRules[rule], &tally);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_LE(tally.skipped * 20, tally.lanes);
  std::printf("%d of %d lanes have a cut too close to call\n", tally.skipped, tally.lanes);
}

// More blocks than the CTAs that share a lane have threads.
TEST(select_blocks, VeryLongContexts) {
  Tally tally;
  for (const SelectShape& shape : {kShapes[5], kShapes[6], kShapes[8]}) {
    const Problem problem(shape, {2300 * shape.block - 1, 1030 * shape.block + 3, 17}, Scores::kRandom);
    for (const int rule : {0, 2, 3}) {
      SCOPED_TRACE(shape.Name() + ", " + Name(kRules[rule]));
      Compare(problem, kRules[rule], &tally);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_LE(tally.skipped * 10, tally.lanes);
}

// The more lanes there are, the fewer CTAs share one.
TEST(select_blocks, ManySeats) {
  Tally tally;
  for (const int seats : {40, 75, 150}) {
    for (const SelectShape& shape : {kShapes[1], kShapes[3]}) {
      std::vector<int32_t> positions;
      for (int seat = 0; seat < seats; ++seat) {
        positions.push_back(seat % 11 == 5 ? -1 : (seat * 37 % 70 + 1) * shape.block - seat % shape.block);
      }
      const Problem problem(shape, positions, Scores::kRandom);
      SCOPED_TRACE(fmt::format("{} seats, {}", seats, shape.Name()));
      Compare(problem, kRules[1], &tally);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_LE(tally.skipped * 20, tally.lanes);
}

// Scores that are all the same, scores of few values and -inf: ties go to the lower block, and none is too close to
// call.
TEST(select_blocks, TiesGoToTheLowerBlock) {
  for (const SelectShape& shape : kShapes) {
    for (const Scores scores : {Scores::kTied, Scores::kFew}) {
      const Problem problem(shape, Positions(shape), scores);
      for (const SelectionRule& rule : kRules) {
        if (scores == Scores::kFew && rule.query_blocks > 0) continue;
        SCOPED_TRACE(shape.Name() + ", " + Name(rule));
        Tally tally;
        Compare(problem, rule, &tally);
        if (testing::Test::HasFatalFailure()) return;
        EXPECT_EQ(tally.skipped, 0);
      }
    }
  }
}

// By hand: of ten blocks the first and the last two are forced; Q is 0 everywhere and takes the lowest, E takes the
// largest, of which one is a member.
TEST(select_blocks, ByHand) {
  for (const auto& backend : BackendsAndReference()) {
    TestVector<float> q(4, 0.0f), sigma = {0, 0, 9, 0, 0, 3, 0, 4, 0, 5}, keys(16 * 4, 1.0f);
    const TestVector<int32_t> positions = {39};
    const TestVector<WindowState> states = {{keys.data(), sigma.data(), nullptr}};
    TestVector<int32_t> ids(7), counts(1);
    // Windows of four tokens, one per block; window b - 1 counts for block b too.
    select_blocks(*backend, {},
                  {.q = ConstTensorView(q.data(), DType::kF32, {1, 1, 4}),
                   .positions = positions,
                   .states = states,
                   .rule = {.init_blocks = 1, .local_blocks = 1, .query_blocks = 4, .topk = 7},
                   .kv_heads = 1,
                   .block_size = 4,
                   .kernel_size = 4,
                   .kernel_stride = 4,
                   .max_blocks = 10,
                   .scale = 1.0f,
                   .selection = {ids.data(), counts.data(), 7}});
    EXPECT_EQ(counts[0], 7) << backend->name();
    EXPECT_EQ(ids, (TestVector<int32_t>{0, 1, 2, 3, 7, 8, 9})) << backend->name();
  }
}

TEST(select_blocks, WidthHoldsEverySelection) {
  for (const SelectionRule& rule : kRules) {
    for (const int blocks : {1, 2, 10, 40, 300}) {
      const int width = SelectionWidth(rule, blocks);
      EXPECT_LE(width, blocks);
      EXPECT_GE(width, std::min(blocks, std::max(rule.query_blocks, rule.topk)));
      EXPECT_GE(width, rule.every_block ? blocks : std::min(blocks, rule.init_blocks + rule.local_blocks + 1));
    }
  }
}

}  // namespace
}  // namespace nosa::ops

#include "ops/window_scores.h"

#include "op_test.h"

namespace nosa::ops {
namespace {

struct Problem {
  int64_t group, kv_heads, dim;
  std::vector<int32_t> windows;  // of each row
  int32_t sequence_rows = 1000;  // rows of a sequence; then comes the next
};

class Scores {
 public:
  Scores(const Problem& problem, DType dtype)
      : problem_(problem),
        q_(DType::kF32, {Rows(), problem.group * problem.kv_heads, problem.dim}, 1, 3.0f),
        width_(static_cast<int64_t>(RoundUp(
            static_cast<uint64_t>(*std::max_element(problem.windows.begin(), problem.windows.end())), kWindowTile))),
        keys_(dtype, {Sequences() * problem.kv_heads, std::max<int64_t>(width_, 1), problem.dim}, 2) {
    for (int64_t i = 0; i < Sequences() * problem.kv_heads; ++i) {
      states_.push_back({keys_.view.row_bytes(i), nullptr, nullptr});
    }
    for (int32_t r = 0; r < static_cast<int32_t>(Rows()); ++r) {
      rows_.push_back({problem.windows[static_cast<size_t>(r)],
                       r / problem.sequence_rows * static_cast<int32_t>(problem.kv_heads)});
    }
  }

  // Entries beyond a row's windows are set to 0 for comparison.
  TestVector<float> Run(Backend& backend) {
    TestVector<float> p(static_cast<size_t>(Rows() * problem_.kv_heads * width_) + 1, -7.0f);
    const float scale = 1.0f / std::sqrt(static_cast<float>(problem_.dim));
    window_scores(backend, {},
                  {q_.view, rows_, states_, keys_.view.dtype(), scale, static_cast<int>(problem_.kv_heads),
                   TensorView(p.data(), DType::kF32, {Rows(), problem_.kv_heads, width_})});
    EXPECT_EQ(p.back(), -7.0f);
    for (int64_t i = 0; i < Rows() * problem_.kv_heads; ++i) {
      for (int64_t w = problem_.windows[static_cast<size_t>(i / problem_.kv_heads)]; w < width_; ++w)
        p[static_cast<size_t>(i * width_ + w)] = 0;
    }
    return p;
  }
  // A logit is a chain of D products, |q| < 18 and |c| < 6, of an error below D^2 eps |q c| scale at worst; p is at
  // most g and turns by its relative error; the sum over windows adds W eps. Rounding errors in fact partly cancel, so
  // a real defect is far above this.
  double Tolerance() const {
    const double eps = 0x1p-24, dim = static_cast<double>(problem_.dim);
    const double logit = dim * eps * 18 * 6 * std::sqrt(dim);
    return static_cast<double>(problem_.group) * (2 * logit + (static_cast<double>(width_) + 8) * eps);
  }

 private:
  int64_t Rows() const { return static_cast<int64_t>(problem_.windows.size()); }
  int64_t Sequences() const { return CeilDiv(Rows(), problem_.sequence_rows); }

  Problem problem_;
  RandomTensor q_;
  int64_t width_;
  RandomTensor keys_;
  std::vector<WindowState> states_;
  std::vector<WindowScoresArgs::Row> rows_;
};

std::vector<Problem> Problems() {
  return {{4, 2, 64, {0, 1, 15, 16, 17, 100, 500}},
          {16, 1, 128, {33, 64, 65, 3, 0, 0, 1}},
          {1, 3, 32, {5}},
          {8, 1, 32, {31, 48}},
          {3, 2, 7, {40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52}, 5},
          {1, 1, 1, {1}},
          {2, 2, 20, {0, 0}},
          {4, 2, 64, {8200}}};
}

TEST(window_scores, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const Problem& problem : Problems()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      Scores scores(problem, dtype);
      const TestVector<float> expected = scores.Run(*reference);
      for (const BackendCase& backend : BackendCases()) {
        SCOPED_TRACE(fmt::format("{} {} g {} G {} D {} first row {} windows", backend.name, DTypeName(dtype),
                                 problem.group, problem.kv_heads, problem.dim, problem.windows[0]));
        const TestVector<float> found = scores.Run(*backend.make());
        for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(expected[i], found[i], scores.Tolerance()) << i;
      }
    }
  }
}

// A row's bits depend on that row alone: not on threads, nor on the rows beside it.
TEST(window_scores, BitsDoNotDependOnThreadsOrCompany) {
  for (const std::vector<BackendCase>& family : BackendFamilies()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t group : {1, 4, 5}) {
        SCOPED_TRACE(fmt::format("{} {} g {}", family[0].name, DTypeName(dtype), group));
        const Problem together{group, 2, 64, {300, 301, 317, 320, 7, 290, 299}};
        const TestVector<float> all = Scores(together, dtype).Run(*family.front().make());
        EXPECT_EQ(all, Scores(together, dtype).Run(*family.back().make()));
        // Row 0 alone: the tensors are filled from the front, so it is the same row.
        Problem alone = together;
        alone.windows = {300};
        alone.sequence_rows = together.sequence_rows;
        // The same key layout needs the same width: a second row asks for it without being the same sequence.
        alone.windows.push_back(320);
        alone.sequence_rows = 1;
        const TestVector<float> single = Scores(alone, dtype).Run(*family.front().make());
        EXPECT_TRUE(std::equal(single.begin(), single.begin() + 2 * 320, all.begin()));
      }
    }
  }
}

}  // namespace
}  // namespace nosa::ops

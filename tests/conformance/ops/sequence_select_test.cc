#include "ops/sequence_select.h"

#include <bit>

#include "compare.h"

namespace nosa::ops {
namespace {

struct Case {
  int sequences, tokens;
  int64_t group, kv_heads, dim;
  int block, kernel_size, kernel_stride;
  SelectionRule rule;
  DType dtype = DType::kF32;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const SelectionRule nosa = {.init_blocks = 1, .local_blocks = 2, .query_blocks = 5, .topk = 9};
  const SelectionRule by_query = {.init_blocks = 1, .local_blocks = 1, .query_blocks = 6};
  const SelectionRule by_importance = {.init_blocks = 2, .local_blocks = 1, .topk = 7};
  const SelectionRule window = {.init_blocks = 1, .local_blocks = 3};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const SelectionRule& rule : {nosa, by_query, by_importance, window}) {
      cases.push_back({2, 1500, 4, 2, 64, 64, 32, 16, rule, dtype});
      cases.push_back({1, 1000, 16, 1, 128, 64, 32, 16, rule, dtype});
      cases.push_back({1, 900, 1, 2, 64, 64, 32, 16, rule, dtype});
      cases.push_back({2, 300, 3, 2, 20, 16, 8, 4, rule, dtype});
      cases.push_back({1, 250, 2, 1, 7, 8, 8, 8, rule, dtype});
      cases.push_back({3, 5, 2, 1, 16, 8, 8, 4, rule, dtype});  // not one window
    }
  }
  cases.push_back({1,
                   5000,
                   8,
                   1,
                   64,
                   64,
                   32,
                   16,
                   {.init_blocks = 1, .local_blocks = 4, .query_blocks = 13, .topk = 32},
                   DType::kBF16});
  return cases;
}

// Where the sets differ, the scores that decide between the members that differ must be as close as rounding makes
// them: those that one side took and the other left.
void ExpectSameButForTies(const SequenceSelectArgs& args, const TestVector<uint64_t>& expected,
                          const TestVector<uint64_t>& found, double allowed_share) {
  const int64_t words = args.masks.dim(2);
  int64_t rows = 0, different = 0;
  for (int64_t r = 0; r < args.q.rows(); ++r) {
    for (int64_t g = 0; g < args.kv_heads; ++g) {
      int64_t expected_count = 0, found_count = 0, apart = 0;
      const int64_t own = r % args.tokens / args.block_size;
      for (int64_t w = 0; w < words; ++w) {
        const uint64_t a = expected[static_cast<size_t>((r * args.kv_heads + g) * words + w)];
        const uint64_t b = found[static_cast<size_t>((r * args.kv_heads + g) * words + w)];
        expected_count += std::popcount(a);
        found_count += std::popcount(b);
        apart += std::popcount(a ^ b);
      }
      ASSERT_EQ(expected_count, found_count) << "row " << r;
      ASSERT_TRUE(MaskBit(found.data() + (r * args.kv_heads + g) * words, own)) << "row " << r;
      ++rows;
      different += apart > 0 ? 1 : 0;
      ASSERT_LE(apart, 4) << "row " << r;
    }
  }
  EXPECT_LE(static_cast<double>(different), allowed_share * static_cast<double>(rows));
}

TEST(sequence_select, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const Case& c : Cases()) {
    const int64_t rows = static_cast<int64_t>(c.sequences) * c.tokens;
    const int64_t windows = c.sequences * WindowsOf(c.tokens, c.kernel_size, c.kernel_stride);
    const int64_t words = MaskWords(c.tokens, c.block);
    const RandomTensor q(c.dtype, {rows, c.group * c.kv_heads, c.dim}, 1),
        keys(c.dtype, {windows, c.kv_heads, c.dim}, 2), sigma(DType::kF32, {windows, c.kv_heads}, 3);
    TestVector<uint64_t> expected(static_cast<size_t>(rows * c.kv_heads * words), ~uint64_t{0}), found = expected;
    SequenceSelectArgs args = {.q = q.view,
                               .keys = keys.view,
                               .sigma = sigma.view,
                               .rule = c.rule,
                               .tokens = c.tokens,
                               .kv_heads = static_cast<int>(c.kv_heads),
                               .block_size = c.block,
                               .kernel_size = c.kernel_size,
                               .kernel_stride = c.kernel_stride,
                               .scale = 1.0f / std::sqrt(static_cast<float>(c.dim)),
                               .masks = {expected.data(), DType::kI64, {rows, c.kv_heads, words}}};
    sequence_select(*reference, {}, args);
    args.masks = {found.data(), DType::kI64, {rows, c.kv_heads, words}};
    for (const TargetCase& each : TargetCases()) {
      SCOPED_TRACE(fmt::format("{}: {} x {} g {} G {} D {} B {} {}, rule {} {}", each.name, c.sequences, c.tokens,
                               c.group, c.kv_heads, c.dim, c.block, DTypeName(c.dtype), c.rule.query_blocks,
                               c.rule.topk));
      std::fill(found.begin(), found.end(), ~uint64_t{0});
      sequence_select(*each.Make(), {}, args);
      // Importance is compared as it is; window scores are sums in f32, where two blocks are closer than their errors
      // in a few of a thousand rows.
      ExpectSameButForTies(args, expected, found, c.rule.query_blocks > 0 ? 3e-3 : 0.0);
    }
  }
}

// The rule is that of decode: what select_blocks selects for one query at a time.
TEST(sequence_select, TiesGoToTheLowerBlock) {
  const int tokens = 64;
  TestVector<float> q(tokens, 0.0f), keys(16, 1.0f), sigma(16, 2.0f);
  for (const TargetCase& each : TargetsAndReference()) {
    TestVector<uint64_t> masks(tokens);
    const auto select = [&](const SelectionRule& rule) {
      sequence_select(*each.Make(), {},
                      {.q = {q.data(), DType::kF32, {tokens, 1, 1}},
                       .keys = {keys.data(), DType::kF32, {16, 1, 1}},
                       .sigma = {sigma.data(), DType::kF32, {16, 1}},
                       .rule = rule,
                       .tokens = tokens,
                       .kv_heads = 1,
                       .block_size = 4,
                       .kernel_size = 4,
                       .kernel_stride = 4,
                       .masks = {masks.data(), DType::kI64, {tokens, 1, 1}}});
      return masks[tokens - 1];  // sixteen blocks, the last one its own
    };
    EXPECT_EQ(select({.init_blocks = 1, .local_blocks = 1, .query_blocks = 5}), 0b1100'0000'0000'0111u) << each.name;
    EXPECT_EQ(select({.init_blocks = 1, .local_blocks = 1, .topk = 6}), 0b1100'0000'0000'1111u) << each.name;
    EXPECT_EQ(select({.init_blocks = 0, .local_blocks = 1, .query_blocks = 3, .topk = 5}), 0b1100'0000'0000'0111u)
        << each.name;
    EXPECT_EQ(select({.init_blocks = 1, .local_blocks = 1, .query_blocks = 40}), 0xffffu) << each.name;
  }
}

}  // namespace
}  // namespace nosa::ops

#include "ops/embed.h"

#include "compare.h"

namespace nosa::ops {
namespace {

TEST(EmbedTest, CopiesRowsExactly) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t width : {0, 1, 15, 16, 17, 64, 65}) {
        for (const int64_t count : {0, 1, 5, 600}) {
          SCOPED_TRACE(fmt::format("{} {} [{}, {}]", each.name, DTypeName(dtype), count, width));
          const RandomTensor table(dtype, {9, width}, 1);
          std::vector<TokenId> ids;
          for (int64_t m = 0; m < count; ++m) ids.push_back(static_cast<TokenId>((m * 5 + 8) % 9));
          const RandomTensor expected(DType::kF32, {count, width}, 2), actual(DType::kF32, {count, width}, 3);
          embed(*reference, {}, {.ids = ids, .table = table.view, .y = expected.view});
          embed(*backend, {}, {.ids = ids, .table = table.view, .y = actual.view});
          EXPECT_TRUE(SameBits(actual.view, expected.view));
        }
      }
    }
  }
}

TEST(EmbedTest, RefusesIdsOutsideTheTable) {
  const auto backend = reference::MakeReferenceBackend();
  const RandomTensor table(DType::kF32, {9, 4}, 1), y(DType::kF32, {1, 4}, 2);
  const std::vector<TokenId> ids = {9};
  EXPECT_DEATH(embed(*backend, {}, {.ids = ids, .table = table.view, .y = y.view}),
               "ids\\[0\\] is 9, the table has 9 rows");
}

}  // namespace
}  // namespace nosa::ops

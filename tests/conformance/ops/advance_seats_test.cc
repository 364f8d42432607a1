#include "ops/advance_seats.h"

#include "op_test.h"

namespace nosa::ops {
namespace {

TEST(advance_seats, MovesThoseThatSit) {
  for (const auto& backend : BackendsAndReference()) {
    TestVector<int32_t> positions = {0, -1, 63, 64, -1, 1'000'000, 77}, step = {41};
    advance_seats(*backend, {}, {.positions = positions.data(), .seats = 6, .step = step.data()});
    EXPECT_EQ(positions, (TestVector<int32_t>{1, -1, 64, 65, -1, 1'000'001, 77})) << backend->name();
    EXPECT_EQ(step[0], 42) << backend->name();
    advance_seats(*backend, {}, {.positions = nullptr, .seats = 0, .step = step.data()});
    EXPECT_EQ(step[0], 43) << backend->name();
  }
}

// More seats than a device has threads in a block.
TEST(advance_seats, MatchesTwin) {
  for (const BackendCase& backend : BackendCases()) {
    for (const int seats : {1, 255, 256, 257, 1500}) {
      TestVector<int32_t> positions(static_cast<size_t>(seats) + 1, 5), step = {1};
      for (int r = 0; r < seats; ++r) positions[static_cast<size_t>(r)] = r % 3 == 1 ? -1 : r * 7;
      TestVector<int32_t> expected = positions, expected_step = step;
      advance_seats(*reference::MakeReferenceBackend(), {}, {expected.data(), seats, expected_step.data()});
      advance_seats(*backend.make(), {}, {positions.data(), seats, step.data()});
      EXPECT_EQ(positions, expected) << backend.name;
      EXPECT_EQ(step, expected_step) << backend.name;
      EXPECT_EQ(positions.back(), 5);
    }
  }
}

}  // namespace
}  // namespace nosa::ops

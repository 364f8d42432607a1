#include "ops/copy_blocks.h"

#include "seat_problem.h"

namespace nosa::ops {
namespace {

struct Copies {
  size_t bytes;
  int count, most, workers;
};

std::vector<Copies> AllCopies() {
  std::vector<Copies> all;
  // 64 KiB is what all threads of a CTA have on their way at once.
  for (const size_t bytes : {size_t{0}, size_t{16}, size_t{48}, size_t{8192}, size_t{8192 + 16}, size_t{65536 - 16},
                             size_t{65536}, size_t{65536 + 16}, size_t{3 * 65536 + 4096}}) {
    for (const int workers : {0, 1, 3}) {
      for (const int count : {0, 1, 2, 19}) all.push_back({bytes, count, bytes > 65536 ? count : 40, workers});
    }
  }
  all.push_back({32, 900, 1000, 0});
  return all;
}

// Slot i takes the block that a shuffle says, and only the first *count: what is behind them would be a crash.
TEST(copy_blocks, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const BackendCase& backend_case : BackendCases()) {
    const auto backend = backend_case.make();
    for (const Copies& c : AllCopies()) {
      SCOPED_TRACE(fmt::format("{}: {} of {} copies of {} bytes, {} workers", backend_case.name, c.count, c.most,
                               c.bytes, c.workers));
      const size_t count = static_cast<size_t>(c.count);
      TestVector<std::byte> from(count * c.bytes + 1);
      for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>((i * 2654435761u) >> 13);
      TestVector<std::byte> expected((count + 1) * c.bytes + 16, std::byte{0x55}), found = expected;
      const TestVector<int32_t> n = {c.count};
      const std::vector<int32_t> order = [&] {
        std::vector<int32_t> all = DrawSet(Philox(3), 1, c.count, c.count);
        for (size_t i = 1; i < count; ++i) std::swap(all[i], all[i * 7919 % (i + 1)]);
        return all;
      }();
      const auto run = [&](Backend& b, TestVector<std::byte>& to) {
        TestVector<BlockCopy> copies(static_cast<size_t>(c.most) + 1);  // the rest: null to null
        for (size_t i = 0; i < count; ++i)
          copies[i] = {from.data() + static_cast<size_t>(order[i]) * c.bytes, to.data() + i * c.bytes};
        copy_blocks(b, {}, {copies.data(), n.data(), c.most, c.bytes, c.workers});
      };
      run(*reference, expected);
      run(*backend, found);
      ASSERT_EQ(expected, found);
      for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(
            std::memcmp(found.data() + i * c.bytes, from.data() + static_cast<size_t>(order[i]) * c.bytes, c.bytes), 0);
      }
      for (size_t i = count * c.bytes; i < found.size(); ++i) ASSERT_EQ(found[i], std::byte{0x55});
    }
  }
}

// One source for several places.
TEST(copy_blocks, ABlockMayBeReadTwice) {
  for (const auto& backend : BackendsAndReference()) {
    const TestVector<float> from = {1, 2, 3, 4};
    TestVector<float> to(12, 0.0f);
    const auto place = [&](size_t i) { return reinterpret_cast<std::byte*>(to.data() + i); };
    const TestVector<BlockCopy> copies = {{reinterpret_cast<const std::byte*>(from.data()), place(0)},
                                          {reinterpret_cast<const std::byte*>(from.data()), place(8)}};
    const TestVector<int32_t> count = {2};
    copy_blocks(*backend, {}, {copies.data(), count.data(), 2, 16, 0});
    EXPECT_EQ(to, (TestVector<float>{1, 2, 3, 4, 0, 0, 0, 0, 1, 2, 3, 4})) << backend->name();
  }
}

}  // namespace
}  // namespace nosa::ops

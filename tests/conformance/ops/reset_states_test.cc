#include "ops/reset_states.h"

#include "op_test.h"

namespace nosa::ops {
namespace {

TEST(reset_states, EmptiesEveryStateAndNothingElse) {
  for (const auto& backend : BackendsAndReference()) {
    for (const size_t count : {0, 1, 7, 5000}) {
      for (const size_t v_dim : {1, 33, 64}) {
        SCOPED_TRACE(fmt::format("{} {} states of {}", backend->name(), count, v_dim));
        TestVector<float> m(count * 3 + 1, 5.0f), l = m, acc(count * 3 * v_dim + 1, 5.0f);
        reset_states(*backend, {},
                     {{m.data(), l.data(), acc.data(), static_cast<int64_t>(count), 3, static_cast<int>(v_dim)}});
        TestVector<float> want_m(m.size(), -INFINITY), want_l(l.size(), 0.0f), want_acc(acc.size(), 0.0f);
        want_m.back() = want_l.back() = want_acc.back() = 5.0f;
        EXPECT_EQ(m, want_m);
        EXPECT_EQ(l, want_l);
        EXPECT_EQ(acc, want_acc);
      }
    }
  }
}

}  // namespace
}  // namespace nosa::ops

// Comparing an op with its twin: backends on every instruction set, element-wise tolerances.
#pragma once

#include <hwy/targets.h>

#include <cmath>
#include <limits>

#include "op_test.h"

namespace nosa::ops {

// Half a unit in the last place of a float, relative: the error of one rounded operation.
inline constexpr double kRounding = 0x1p-24;

// A backend case on one instruction set. Make() switches the whole program to it: use one at a time.
struct TargetCase {
  std::string name;
  int64_t target;  // 0: the best of this machine
  std::shared_ptr<Backend> (*make)();

  std::shared_ptr<Backend> Make() const {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    return make();
  }
};

// BackendCases() and the slower instruction sets, which other machines will run.
inline std::vector<TargetCase> TargetCases() {
  std::vector<TargetCase> cases;
  for (const int64_t target : {int64_t{HWY_SCALAR}, int64_t{HWY_AVX2}}) {
    hwy::SetSupportedTargetsForTest(0);
    if (target != HWY_SCALAR && (hwy::SupportedTargets() & target) == 0) continue;
    cases.push_back({std::string("cpu1 ") + hwy::TargetName(target), target, MakeCpu<1>});
  }
  for (const BackendCase& each : BackendCases()) cases.push_back({each.name, 0, each.make});
  return cases;
}

// |actual - expected| <= absolute + relative * |expected| for every element of two f32 views of one shape.
inline void ExpectClose(ConstTensorView actual, ConstTensorView expected, double relative, double absolute) {
  for (int64_t r = 0; r < expected.rows(); ++r) {
    for (int64_t i = 0; i < expected.RowElements(); ++i) {
      const double a = actual.row<float>(r)[i];
      const double e = expected.row<float>(r)[i];
      if (a == e) continue;
      ASSERT_LE(std::abs(a - e), absolute + relative * std::abs(e))
          << "row " << r << ", element " << i << ": " << a << " for " << e;
    }
  }
}

inline bool SameBits(ConstTensorView a, ConstTensorView b) {
  for (int64_t r = 0; r < a.rows(); ++r) {
    for (int64_t i = 0; i < a.RowElements(); ++i) {
      if (std::bit_cast<uint32_t>(a.row<float>(r)[i]) != std::bit_cast<uint32_t>(b.row<float>(r)[i])) return false;
    }
  }
  return true;
}

}  // namespace nosa::ops

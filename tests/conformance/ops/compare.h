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

// TargetCases() and the reference: for what holds of each by itself.
inline std::vector<TargetCase> TargetsAndReference() {
  std::vector<TargetCase> cases = TargetCases();
  cases.push_back({"reference", 0, [] { return std::shared_ptr<Backend>(reference::MakeReferenceBackend()); }});
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

// Whether every element of `rounded` (bf16) is that of `exact` (f32) rounded once.
inline bool SameAsRounded(ConstTensorView rounded, ConstTensorView exact) {
  for (int64_t r = 0; r < exact.rows(); ++r) {
    for (int64_t i = 0; i < exact.RowElements(); ++i) {
      if (rounded.row<BFloat16>(r)[i].bits != BFloat16(exact.row<float>(r)[i]).bits) return false;
    }
  }
  return true;
}

// Floats whose rounding to bf16 is worth a test: ties to both sides, the largest ones, subnormal ones, NaN.
inline std::vector<float> DelicateFloats() {
  const float tie = 1 + 0x1p-8f, largest = std::numeric_limits<float>::max();
  return {
      tie,       1 + 3 * 0x1p-8f, -tie,    tie + 0x1p-23f,  tie - 0x1p-23f, 3.0f,      0.1f,          0.0f,    -0.0f,
      0x1p-133f, 3 * 0x1p-134f,   largest, 0x1.fefffep127f, 0x1.ffp127f,    -INFINITY, std::nanf(""), INFINITY};
}

}  // namespace nosa::ops

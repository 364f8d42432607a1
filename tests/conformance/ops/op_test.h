// One body for every backend: an op test computes its expectation with the scalar twin and runs on each of these.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "base/rng.h"
#include "ops/ops.h"
#include "ops/reference/reference_backend.h"
#include "test_memory.h"

namespace nosa::ops {

struct BackendCase {
  std::string name;
  std::shared_ptr<Backend> (*make)();
};

template <int threads>
std::shared_ptr<Backend> MakeCpu() {
  return cpu::MakeCpuBackend(threads);
}

// Backends under test. The reference is the judge, not a case. "cuda" where there is a GPU, its ops done when they
// return: what it reads and writes must be TestVector, TestBuffer or RandomTensor.
inline std::vector<BackendCase> BackendCases() {
  std::vector<BackendCase> cases = {{"cpu1", MakeCpu<1>}, {"cpu3", MakeCpu<3>}};
  if (CudaForTests(true).ok()) cases.push_back({"cuda", [] { return CudaForTests(true).value(); }});
  return cases;
}

// The same by device: those of one family give the same bits as each other.
inline std::vector<std::vector<BackendCase>> BackendFamilies() {
  std::vector<std::vector<BackendCase>> families;
  for (const BackendCase& backend : BackendCases()) {
    if (families.empty() || backend.name == "cuda") families.emplace_back();
    families.back().push_back(backend);
  }
  return families;
}

// BackendCases() made, and the reference too: for results that are known beforehand.
inline std::vector<std::shared_ptr<Backend>> BackendsAndReference() {
  std::vector<std::shared_ptr<Backend>> backends = {reference::MakeReferenceBackend()};
  for (const BackendCase& backend : BackendCases()) backends.push_back(backend.make());
  return backends;
}

// An owned tensor of random normal values (times `scale`), rounded to `dtype`. `stream` makes tensors differ.
struct RandomTensor {
  RandomTensor(DType dtype, Shape shape, uint64_t stream, float scale = 1.0f)
      : buffer(TestBuffer(static_cast<size_t>(shape.elements()) * DTypeBytes(dtype) + 1)),
        view(buffer.data(), dtype, shape) {
    const Philox rng(7, stream);
    for (int64_t i = 0; i < shape.elements(); ++i) {
      StoreFloat(buffer.data(), dtype, static_cast<size_t>(i), rng.Normal(static_cast<uint64_t>(i)) * scale);
    }
  }
  float At(int64_t i) const { return LoadFloat(buffer.data(), view.dtype(), static_cast<size_t>(i)); }

  Buffer buffer;
  TensorView view;
};

// max |a - b| over packed f32 views of the same shape; infinite where one is NaN or infinities differ.
inline double MaxDifference(ConstTensorView a, ConstTensorView b) {
  double worst = 0;
  const int64_t n = a.shape().elements();
  for (int64_t i = 0; i < n; ++i) {
    const double x = LoadFloat(a.bytes(), a.dtype(), static_cast<size_t>(i));
    const double y = LoadFloat(b.bytes(), b.dtype(), static_cast<size_t>(i));
    if (x == y) continue;
    const double d = std::abs(x - y);
    worst = std::max(worst, std::isnan(d) ? INFINITY : d);
  }
  return worst;
}

}  // namespace nosa::ops

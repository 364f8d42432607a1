// The GPU of this machine for tests, where there is one and the program is linked with its backend.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "ops/backend.h"
#if NOSA_HAS_CUDA
#include "backend/cuda/cuda_backend.h"
#endif

namespace nosa {

// One backend for all tests of a program, as making one takes most of a second; it lives as long as the program. The
// status says why there is none. `blocking`: an op that fails does so where it is called (a second backend).
inline Result<std::shared_ptr<ops::Backend>> CudaForTests(bool blocking) {
#if NOSA_HAS_CUDA
  using Made = Result<std::shared_ptr<ops::Backend>>;
  const auto make = [](bool blocks) -> Made* {
    auto made = cuda::MakeCudaBackend({.blocking = blocks});
    return made.ok() ? new Made(std::shared_ptr<ops::Backend>(std::move(made).value())) : new Made(made.status());
  };
  if (blocking) {
    static Made* const backend = make(true);
    return *backend;
  }
  static Made* const backend = make(false);
  return *backend;
#else
  (void)blocking;
  return FailedPrecondition("the CUDA backend is not built in");
#endif
}

}  // namespace nosa

// The ops as functions: ops::rms_norm(backend, stream, args) checks the contract, then runs the backend's
// implementation. Include the header of the op for its arguments.
#pragma once

#include "ops/backend.h"

namespace nosa::ops {

#define NOSA_OP(name, Args)                                               \
  /* Ends the program when the arguments break the contract of the op. */ \
  void Check(const Args& args);                                           \
  OpCost Cost(const Args& args);                                          \
  inline void name(Backend& backend, Stream stream, const Args& args) {   \
    Check(args);                                                          \
    backend.table().name(backend, stream, args);                          \
    backend.AfterOp(#name, stream);                                       \
  }
#include "ops/ops.def"
#undef NOSA_OP

}  // namespace nosa::ops

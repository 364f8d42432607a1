// What src/ops/ops.def makes of a line, for the list of this folder. The compiler reads it before each file of the
// example, which so looks as it would in its own place.
#pragma once

#include "ops/backend.h"

#define NOSA_OP(op, Args)                                                               \
  namespace nosa::ops {                                                                 \
  struct Args;                                                                          \
  void Check(const Args& args);                                                         \
  OpCost Cost(const Args& args);                                                        \
  }                                                                                     \
  namespace nosa::ops::reference {                                                      \
  void op(Backend& backend, Stream stream, const Args& args);                           \
  }                                                                                     \
  namespace nosa::cpu {                                                                 \
  void op(ops::Backend& backend, ops::Stream stream, const ops::Args& args);            \
  }                                                                                     \
  namespace nosa::ops {                                                                 \
  inline void op(Backend& backend, Stream stream, const Args& args) {                   \
    Check(args);                                                                        \
    (backend.name() == "reference" ? &reference::op : &cpu::op)(backend, stream, args); \
  }                                                                                     \
  }
#include "ops.def"
#undef NOSA_OP

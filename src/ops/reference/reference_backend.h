// The scalar backend: plain loops that say what each op means. Slow, one thread; the judge of the others.
#pragma once

#include <memory>

#include "ops/backend.h"

namespace nosa::ops::reference {

#define NOSA_OP(name, Args) void name(Backend& backend, Stream stream, const Args& args);
#include "ops/ops.def"
#undef NOSA_OP

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace nosa::ops::reference

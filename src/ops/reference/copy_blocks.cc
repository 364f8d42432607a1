#include "ops/copy_blocks.h"

#include <cstring>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void copy_blocks(Backend&, Stream, const CopyBlocksArgs& args) {
  for (int i = 0; i < *args.count; ++i) std::memcpy(args.copies[i].to, args.copies[i].from, args.bytes);
}

}  // namespace nosa::ops::reference

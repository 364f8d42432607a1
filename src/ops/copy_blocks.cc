#include "ops/copy_blocks.h"

namespace nosa::ops {

void Check(const CopyBlocksArgs& args) {
  NOSA_CHECK(args.bytes % 16 == 0, "copy_blocks: blocks of {} bytes are not whole 16-byte words", args.bytes);
  NOSA_CHECK(args.most >= 0 && args.count != nullptr && (args.most == 0 || args.copies != nullptr),
             "copy_blocks: a list of up to {} copies has no memory", args.most);
}

OpCost Cost(const CopyBlocksArgs& args) {
  return {.bytes = 2.0 * args.most * static_cast<double>(args.bytes), .flops = 0};
}

}  // namespace nosa::ops

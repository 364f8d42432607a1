// Which blocks every token of a sequence reads.
#pragma once

#include "ops/ops.h"
#include "ops/select_blocks.h"
#include "ops/sequence.h"

namespace nosa::ops {

// masks[r, g] = the blocks that `rule` selects for token r mod T through KV head g, as select_blocks would for a query
// at that position (docs/nosa.md, "Two scores per block" and "Selection"); ties go to the lower block. Window w is
// window w of the row's sequence, visible from token stride w + size - 1 on. Scores are f32; with bf16 inputs a device
// may round what it multiplies to bf16.
struct SequenceSelectArgs {
  ConstTensorView q;      // [B T, H, D] f32 or bf16, after RoPE, packed
  ConstTensorView keys;   // [B W, G, D] of q's type: means of k over the windows; packed
  ConstTensorView sigma;  // [B W, G] f32: means of s; may be empty when rule.topk is 0
  SelectionRule rule;     // not every_block
  int tokens = 0;         // T
  int kv_heads = 0;       // G
  int block_size = 0;     // tokens
  int kernel_size = 0;    // tokens of a window
  int kernel_stride = 0;  // tokens from window to window; divides the size and the block
  float scale = 1.0f;     // of q . key
  TensorView masks;       // [B T, G, MaskWords] i64
};

}  // namespace nosa::ops

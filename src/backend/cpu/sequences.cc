// The ops on whole sequences (ops/sequence.h).
#include "backend/cpu/cpu_backend.h"
#include "ops/reference/reference_backend.h"
#include "ops/sequence_attention_grad.h"
#include "ops/sequence_select.h"

namespace nosa::cpu {

void sequence_select(ops::Backend& backend, ops::Stream stream, const ops::SequenceSelectArgs& args) {
  ops::reference::sequence_select(backend, stream, args);
}
void sequence_attention(ops::Backend& backend, ops::Stream stream, const ops::SequenceAttentionArgs& args) {
  ops::reference::sequence_attention(backend, stream, args);
}
void sequence_attention_grad(ops::Backend& backend, ops::Stream stream, const ops::SequenceAttentionGradArgs& args) {
  ops::reference::sequence_attention_grad(backend, stream, args);
}

}  // namespace nosa::cpu

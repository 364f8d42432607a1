// Prompts that begin with what other requests have read.
//
// An answer's bits depend on how its prompt was cut into passes, so only chunks are shared that every request with
// these tokens reads in one pass: [i C, (i + 1) C) with C = EngineOptions::prefill_chunk, after chunks of the same
// kind.
#include <algorithm>

#include "engine/engine.h"
#include "engine/sequence.h"

namespace nosa::engine {

kv::PrefixQuery Engine::PrefixOf(const Request& request, std::span<const TokenId> tokens) const {
  if (!options_.prefix_cache || !request.reuse_prefix) return {};
  return {options_.share_prefixes_across_tenants ? std::string_view() : std::string_view(request.tenant), tokens};
}

kv::PrefixQuery Engine::Reusable(const Request& request, std::span<const TokenId> prompt) const {
  // The last token is always read, for its logits, and so is every position whose logits are wanted.
  const size_t read = std::min(prompt.size(), static_cast<size_t>(std::max(1, request.prompt_logits)));
  return PrefixOf(request, prompt.first(prompt.size() - read));
}

void Engine::LoadPrefix(Sequence& sequence, const kv::SharedPrefix& shared) {
  int first = shared.first;
  for (const ConstBytes bytes : shared.chunks) {
    const int end = first + options_.prefill_chunk;
    runner_->LoadChunk(sequence.kv, first, end, bytes);
    sequence.passes.Add(first, options_.prefill_chunk, true);
    sequence.result.cached_tokens += options_.prefill_chunk;
    first = end;
  }
}

void Engine::ReusePrefix(Sequence& sequence) {
  const int done = store_->length(sequence.kv), chunk = options_.prefill_chunk;
  const std::span<const TokenId> tokens = sequence.tokens;
  const kv::PrefixQuery query = Reusable(sequence.request, tokens.first(static_cast<size_t>(sequence.prompt_end)));
  if (static_cast<int>(query.tokens.size()) < done + chunk || sequence.passes.WholeChunks(chunk) * chunk != done)
    return;
  kv::SharedPrefix shared;
  store_->SharePrefix(sequence.kv, query, &shared);
  LoadPrefix(sequence, shared);
}

void Engine::KeepPrefix(Sequence& sequence) {
  const int length = store_->length(sequence.kv), chunk = options_.prefill_chunk;
  const std::span<const TokenId> tokens = sequence.tokens;
  const kv::PrefixQuery query = PrefixOf(sequence.request, tokens.first(static_cast<size_t>(length)));
  if (query.tokens.empty() || sequence.passes.WholeChunks(chunk) * chunk != length) return;
  const MutableBytes side = store_->KeepPrefix(sequence.kv, query, runner_->ChunkBytes(length - chunk, length));
  if (!side.empty()) runner_->SaveChunk(sequence.kv, length - chunk, length, side);
}

}  // namespace nosa::engine

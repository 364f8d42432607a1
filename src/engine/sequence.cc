#include "engine/sequence.h"

#include <algorithm>

#include "base/check.h"

namespace nosa::engine {

void PassLog::Add(TokenPos first, int tokens, bool prefill) {
  if (!prefill && !passes_.empty() && !passes_.back().prefill &&
      passes_.back().first + passes_.back().tokens == first) {
    passes_.back().tokens += tokens;
    return;
  }
  passes_.push_back({first, tokens, prefill});
}

void PassLog::Cut(int length) {
  while (!passes_.empty() && passes_.back().first >= length) passes_.pop_back();
  if (passes_.empty() || passes_.back().first + passes_.back().tokens <= length) return;
  NOSA_CHECK(!passes_.back().prefill, "a cut at {} inside the chunk of {} tokens from {}", length,
             passes_.back().tokens, passes_.back().first);
  passes_.back().tokens = length - passes_.back().first;
}

int PassLog::WholeBefore(int length) const {
  for (const Pass& pass : passes_) {
    if (pass.prefill && pass.first < length && length < pass.first + pass.tokens) return pass.first;
  }
  return length;
}

int PassLog::WholeChunks(int tokens) const {
  int chunks = 0;
  for (const Pass& pass : passes_) {
    if (!pass.prefill || pass.tokens != tokens) break;
    ++chunks;
  }
  return chunks;
}

TokenPos PassLog::RestartBefore(TokenPos pos, int block) const {
  TokenPos target = pos / block * block;
  for (size_t i = passes_.size(); i-- > 0;) {
    const Pass& pass = passes_[i];
    if (pass.first > target) continue;
    if (!pass.prefill) return target;  // single steps can be taken up anywhere
    if (pass.first % block == 0) return pass.first;
    target = pass.first / block * block;  // a chunk that starts inside a block: take the one before it, too
  }
  return 0;
}

std::vector<Pass> PassLog::From(TokenPos from) const {
  std::vector<Pass> rest;
  for (const Pass& pass : passes_) {
    const TokenPos end = pass.first + pass.tokens;
    if (end <= from) continue;
    const TokenPos first = std::max(pass.first, from);
    rest.push_back({first, end - first, pass.prefill});
  }
  return rest;
}

size_t CertainText(std::string_view text, const std::vector<std::string>& stops, bool* stopped) {
  size_t certain = text.size();
  *stopped = false;
  for (const std::string& stop : stops) {
    const size_t found = text.find(stop);
    if (found != std::string_view::npos) {
      certain = *stopped ? std::min(certain, found) : found;
      *stopped = true;
    }
  }
  if (*stopped) return certain;
  for (const std::string& stop : stops) {
    // The longest end of the text that begins this stop string stays back.
    for (size_t n = std::min(stop.size() - 1, text.size()); n > 0; --n) {
      if (text.substr(text.size() - n) != std::string_view(stop).substr(0, n)) continue;
      certain = std::min(certain, text.size() - n);
      break;
    }
  }
  return certain;
}

}  // namespace nosa::engine

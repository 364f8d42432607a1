#include "tasks/filler.h"

#include <algorithm>
#include <string>

#include "base/check.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

// What planted lines of the tasks here say, and other text seldom does.
constexpr std::string_view kPlanted[] = {"secret number", "# VAR ", "# The passage of "};

bool SpeaksLikePlanted(std::string_view line) {
  return std::any_of(std::begin(kPlanted), std::end(kPlanted),
                     [&](std::string_view words) { return line.find(words) != std::string_view::npos; });
}

}  // namespace

Result<Filler> Filler::Make(std::shared_ptr<const text::Tokenizer> tokenizer, std::span<const TokenId> ids) {
  NOSA_CHECK(ids.size() < uint64_t{1} << 32, "{} tokens of filler", ids.size());
  Filler filler;
  filler.ids_ = ids;
  filler.line_break_ = EncodePiece(*tokenizer, "\n");
  for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
    const std::string_view bytes = tokenizer->TokenBytes(id);
    filler.breaks_.push_back(static_cast<uint8_t>((bytes.ends_with('\n') || tokenizer->IsSpecial(id) ? kEnds : 0) |
                                                  (bytes.starts_with('\n') ? kBegins : 0)));
  }
  std::string line;
  size_t begin = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= tokenizer->vocab_size())
      return InvalidArgument("expected token ids below {}, found {}", tokenizer->vocab_size(), ids[i]);
    line += tokenizer->TokenBytes(ids[i]);
    if (!filler.EndsLine(ids[i]) && i + 1 < ids.size()) continue;
    if (!SpeaksLikePlanted(line)) {
      if (filler.segments_.empty() || filler.segments_.back().second != begin) {
        filler.segments_.emplace_back(begin, begin);
        filler.before_.push_back(filler.tokens_);
      }
      filler.segments_.back().second = i + 1;
      filler.tokens_ += static_cast<int64_t>(i + 1 - begin);
    }
    line.clear();
    begin = i + 1;
  }
  if (filler.tokens_ == 0) return InvalidArgument("expected text to fill documents with, found none");
  filler.tokenizer_ = std::move(tokenizer);
  return filler;
}

std::vector<TokenId> Filler::Draw(int n, uint64_t seed) const {
  NOSA_CHECK(n <= tokens_, "{} of {} tokens", n, tokens_);
  const int64_t drawn = UniformBelow(static_cast<uint32_t>(tokens_), seed, kFillerStream, 0);
  auto segment = static_cast<size_t>(std::upper_bound(before_.begin(), before_.end(), drawn) - before_.begin() - 1);
  size_t at = segments_[segment].first + static_cast<size_t>(drawn - before_[segment]);
  while (at > segments_[segment].first && !EndsLine(ids_[at - 1])) --at;  // back to the line's beginning
  std::vector<TokenId> out;
  out.reserve(static_cast<size_t>(n));
  while (true) {
    const size_t take = std::min(segments_[segment].second - at, static_cast<size_t>(n) - out.size());
    out.insert(out.end(), ids_.begin() + static_cast<std::ptrdiff_t>(at),
               ids_.begin() + static_cast<std::ptrdiff_t>(at + take));
    if (out.size() == static_cast<size_t>(n)) return out;
    segment = (segment + 1) % segments_.size();
    at = segments_[segment].first;
  }
}

}  // namespace nosa::tasks

#include "tasks/recall_task.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

// Tokens that a planted line may cost beyond its own: it cuts a run of white space in two at most.
constexpr int kSeamTokens = 8;

std::string FactLine(const Fact& fact) { return SecretLine(fact.word, fact.number) + "\n"; }

Status CheckOptions(const RecallOptions& options) {
  const auto words = static_cast<int>(Nouns().size());
  if (options.facts < 1 || options.facts > words)
    return InvalidArgument("expected 1 to {} facts, found {}", words, options.facts);
  if (!options.depths.empty() && static_cast<int>(options.depths.size()) != options.facts) {
    return InvalidArgument("expected a depth for each of {} facts, found {}", options.facts, options.depths.size());
  }
  for (const double depth : options.depths) {
    if (!(depth >= 0 && depth <= 1)) return InvalidArgument("expected depths in [0, 1], found {}", depth);
  }
  return Status::Ok();
}

std::vector<double> Depths(const RecallOptions& options) {
  std::vector<double> depths = options.depths;
  for (int i = 0; depths.size() < static_cast<size_t>(options.facts); ++i) depths.push_back((i + 0.5) / options.facts);
  std::sort(depths.begin(), depths.end());
  return depths;
}

std::vector<Fact> DrawFacts(const text::Tokenizer& tokenizer, const RecallOptions& options) {
  const std::vector<size_t> order = ShuffledIndices(Nouns().size(), options.seed, kWordStream);
  std::vector<Fact> facts;
  for (const double depth : Depths(options)) {
    const size_t i = facts.size();
    Fact& fact = facts.emplace_back();
    fact.depth = depth;
    fact.word = Nouns()[order[i]];
    fact.number = std::to_string(10000 + UniformBelow(90000, options.seed, kNumberStream, i));
    fact.question = EncodePiece(tokenizer, SecretQuestion(fact.word));
  }
  return facts;
}

int LongestQuestion(const std::vector<Fact>& facts) {
  size_t longest = 0;
  for (const Fact& fact : facts) longest = std::max(longest, fact.question.size());
  return static_cast<int>(longest);
}

std::string WithoutSecrets(std::string_view text) {
  std::string kept;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size() - 1) + 1);
    if (line.find("secret number of") == std::string_view::npos) kept += line;
    text.remove_prefix(line.size());
  }
  return kept;
}

// Text as the tokenizer gives it back, and where each of its tokens begins.
struct TokenizedText {
  std::vector<TokenId> ids;
  std::string bytes;
  std::vector<size_t> begin;  // of token i in `bytes`; one more for the end
};

TokenizedText Tokenize(const text::Tokenizer& tokenizer, std::string_view text, const text::EncodeOptions& options) {
  TokenizedText out = {tokenizer.Encode(text, options), {}, {0}};
  for (const TokenId id : out.ids) {
    if (!tokenizer.IsSpecial(id)) out.bytes += tokenizer.TokenBytes(id);
    out.begin.push_back(out.bytes.size());
  }
  return out;
}

// The haystack with the facts' lines in it. `budget`: tokens that it must have at least.
std::string Plant(const text::Tokenizer& tokenizer, const TokenizedText& hay, const std::vector<Fact>& facts,
                  int budget) {
  std::vector<int> cost;
  for (const Fact& fact : facts) cost.push_back(static_cast<int>(EncodePiece(tokenizer, FactLine(fact)).size()));
  const int all = std::accumulate(cost.begin(), cost.end(), kSeamTokens * static_cast<int>(facts.size()));
  std::string text;
  size_t done = 0;
  int planted = 0;
  for (size_t i = 0; i < facts.size(); ++i) {
    const int target = std::clamp(static_cast<int>(facts[i].depth * budget) - planted, 0, budget - all);
    const size_t at = hay.begin[static_cast<size_t>(target)];
    const size_t newline = at == 0 ? std::string::npos : hay.bytes.rfind('\n', at - 1);
    const size_t line = newline == std::string::npos ? done : std::max(done, newline + 1);
    text += hay.bytes.substr(done, line - done);
    text += FactLine(facts[i]);
    done = line;
    planted += cost[i];
  }
  return text + hay.bytes.substr(done);
}

// Where the facts are in the document's tokens [0, tokens).
Status Locate(const TokenizedText& document, int tokens, std::vector<Fact>* facts) {
  size_t from = 0;
  for (Fact& fact : *facts) {
    const std::string line = FactLine(fact);
    const size_t at = document.bytes.find(line, from);
    const size_t end = at + line.size() - 1;  // the line's end may be in one token with what follows
    if (at == std::string::npos || end > document.begin[static_cast<size_t>(tokens)]) {
      return InvalidArgument("expected room for {} facts, found that \"{}\" does not fit in {} tokens", facts->size(),
                             line.substr(0, line.size() - 1), tokens);
    }
    const auto first = std::upper_bound(document.begin.begin(), document.begin.end(), at) - 1;
    const auto past = std::lower_bound(document.begin.begin(), document.begin.end(), end);
    fact.position = static_cast<TokenPos>(first - document.begin.begin());
    fact.tokens = static_cast<int>(past - first);
    fact.depth = static_cast<double>(fact.position) / tokens;
    from = end;
  }
  return Status::Ok();
}

}  // namespace

int RecallTask::reserve_tokens() const {
  return static_cast<int>(document.size()) + LongestQuestion(facts) + kRecallAnswerTokens;
}

Result<RecallTask> BuildRecallTask(const text::Tokenizer& tokenizer, std::string_view text,
                                   const RecallOptions& options) {
  NOSA_RETURN_IF_ERROR(CheckOptions(options));
  RecallTask task;
  task.seed = options.seed;
  task.facts = DrawFacts(tokenizer, options);
  const int tokens = options.tokens - LongestQuestion(task.facts);
  int least = kSeamTokens;
  for (const Fact& fact : task.facts)
    least += static_cast<int>(EncodePiece(tokenizer, FactLine(fact)).size()) + kSeamTokens;
  if (tokens < least) {
    return InvalidArgument("expected at least {} tokens for {} facts and a question, found {}",
                           least + options.tokens - tokens, options.facts, options.tokens);
  }
  const TokenizedText hay = Tokenize(tokenizer, WithoutSecrets(text), kPiece);
  if (static_cast<int>(hay.ids.size()) < tokens) {
    return InvalidArgument("expected a text of at least {} tokens, found one of {}", tokens, hay.ids.size());
  }
  const TokenizedText document =
      Tokenize(tokenizer, Plant(tokenizer, hay, task.facts, tokens), {.parse_special_tokens = false});
  NOSA_CHECK(static_cast<int>(document.ids.size()) >= tokens, "{} tokens with facts, {} without", document.ids.size(),
             hay.ids.size());
  NOSA_RETURN_IF_ERROR(Locate(document, tokens, &task.facts));
  task.document.assign(document.ids.begin(), document.ids.begin() + tokens);
  return task;
}

}  // namespace nosa::tasks

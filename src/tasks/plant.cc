#include "tasks/plant.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

// The document, and where each line of it begins.
struct Spliced {
  std::vector<TokenId> document;
  std::vector<TokenPos> positions;
};

// Whether a line of `hay` ends between the tokens at - 1 and at.
bool LineEndsAt(const Filler& filler, std::span<const TokenId> hay, size_t at) {
  return at == 0 || filler.EndsLine(hay[at - 1]) || (at < hay.size() && filler.BeginsWithBreak(hay[at]));
}

Spliced Splice(const Filler& filler, std::span<const TokenId> hay, const std::vector<PlantedLine>& lines, int tokens) {
  Spliced out;
  std::vector<TokenId>& document = out.document;
  document.reserve(static_cast<size_t>(tokens));
  const auto append = [&document](std::span<const TokenId> ids) {
    document.insert(document.end(), ids.begin(), ids.end());
  };
  const std::span<const TokenId> line_break = filler.line_break();
  size_t done = 0, planted = 0;  // tokens of the hay and of lines that the document has
  for (const PlantedLine& line : lines) {
    const auto wanted = static_cast<size_t>(line.depth * tokens);
    size_t at = std::clamp(wanted - std::min(wanted, planted), done, hay.size());
    while (at > done && !LineEndsAt(filler, hay, at)) --at;
    append(hay.subspan(done, at - done));
    // The break that is missing stands before the line if the text's own follows it.
    const bool behind = at == 0 || filler.EndsLine(hay[at - 1]);
    if (!behind) append(line_break);
    out.positions.push_back(static_cast<TokenPos>(document.size()));
    append(line.ids);
    if (behind) append(line_break);
    done = at;
    planted += line.ids.size() + line_break.size();
  }
  append(hay.subspan(done));
  return out;
}

}  // namespace

void Plan::Ask(const text::Tokenizer& tokenizer, std::string_view question, std::string_view answer) {
  questions.push_back({EncodePiece(tokenizer, question), EncodePiece(tokenizer, answer), {}});
}

void Plan::Evidence(const text::Tokenizer& tokenizer, std::string_view line, double depth) {
  lines.push_back({EncodePiece(tokenizer, line), depth, static_cast<int>(questions.size()) - 1});
}

Result<std::vector<double>> QuestionDepths(const ExampleOptions& options, int max_questions) {
  if (options.questions < 1) return InvalidArgument("expected at least 1 question, found {}", options.questions);
  if (!options.depths.empty() && static_cast<int>(options.depths.size()) != options.questions) {
    return InvalidArgument("expected a depth for each of {} questions, found {}", options.questions,
                           options.depths.size());
  }
  for (const double depth : options.depths) {
    if (!(depth >= 0 && depth <= 1)) return InvalidArgument("expected depths in [0, 1], found {}", depth);
  }
  const int n = std::min(options.questions, max_questions);
  std::vector<double> depths(options.depths.begin(), options.depths.begin() + (options.depths.empty() ? 0 : n));
  if (depths.empty()) {
    Draws draws(options.seed, kDepthStream);
    for (int i = 0; i < n; ++i) depths.push_back((i + draws.Share()) / n);
    draws.Shuffle(&depths);
  }
  return depths;
}

std::vector<double> DepthsFrom(double first, int n, uint64_t seed, int which) {
  // Streams of their own, far from those of shuffle.h.
  Draws draws(seed, 1000 + static_cast<uint64_t>(which));
  std::vector<double> depths = {first};
  for (int i = 1; i < n; ++i) depths.push_back(first + draws.Share() * (1 - first));
  std::sort(depths.begin(), depths.end());
  return depths;
}

Status CheckTokens(const ExampleOptions& options, int least) {
  if (options.tokens >= least) return Status::Ok();
  return InvalidArgument("expected at least {} tokens for {} questions, found {}", least, options.questions,
                         options.tokens);
}

Result<Example> Plant(const Filler& filler, const ExampleOptions& options, Plan plan, MakeHay hay) {
  Example example;
  example.questions = std::move(plan.questions);
  const int asked = example.total();
  const int planted = std::accumulate(plan.lines.begin(), plan.lines.end(), 0, [&](int n, const PlantedLine& line) {
    return n + static_cast<int>(line.ids.size() + filler.line_break().size());
  });
  NOSA_RETURN_IF_ERROR(CheckTokens(options, asked + kMaxPlantedShare * planted));
  std::stable_sort(plan.lines.begin(), plan.lines.end(),
                   [](const PlantedLine& a, const PlantedLine& b) { return a.depth < b.depth; });
  const int tokens = options.tokens - asked;
  const std::vector<TokenId> text = hay(tokens - planted);
  Spliced spliced = Splice(filler, text, plan.lines, tokens);
  example.document = std::move(spliced.document);
  NOSA_CHECK(example.total() == options.tokens, "{} of {} tokens", example.total(), options.tokens);
  for (size_t i = 0; i < plan.lines.size(); ++i) {
    if (plan.lines[i].question < 0) continue;
    example.questions[static_cast<size_t>(plan.lines[i].question)].evidence.push_back(spliced.positions[i]);
  }
  for (Question& question : example.questions) question.depth = static_cast<double>(question.evidence.front()) / tokens;
  return example;
}

Result<Example> Plant(const Filler& filler, const ExampleOptions& options, Plan plan) {
  // As much as could be needed, whatever is planted: then the same filler serves every task.
  if (filler.tokens() < options.tokens) {
    return InvalidArgument("expected a text of at least {} tokens to fill documents with, found one of {}",
                           options.tokens, filler.tokens());
  }
  return Plant(filler, options, std::move(plan), [&](int tokens) { return filler.Draw(tokens, options.seed); });
}

}  // namespace nosa::tasks

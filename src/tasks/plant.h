// Lines planted in a text: where they go, and how the example comes out at exactly the tokens asked for.
#pragma once

#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "tasks/task.h"

namespace nosa::tasks {

struct PlantedLine {
  std::vector<TokenId> ids;  // without a line break
  double depth = 0;          // wanted, as a share of the document
  int question = -1;         // whose evidence it is; -1: nobody's
};

// What an example is made of, but for the text between.
struct Plan {
  std::vector<PlantedLine> lines;
  std::vector<Question> questions;  // without evidence and depth

  void Ask(const text::Tokenizer& tokenizer, std::string_view question, std::string_view answer);
  // A line, without its break, that the question asked last needs.
  void Evidence(const text::Tokenizer& tokenizer, std::string_view line, double depth);
};

// Where the questions' evidence begins: options.depths, or what ExampleOptions says of its absence.
// kInvalidArgument: questions below 1, depths outside [0, 1] or not one a question. At most `max_questions`.
Result<std::vector<double>> QuestionDepths(const ExampleOptions& options, int max_questions);

// `n` rising depths, the first at `first`, the others drawn behind it; one list for each `which` of an example.
std::vector<double> DepthsFrom(double first, int n, uint64_t seed, int which);

// kInvalidArgument unless options.tokens is at least `least`.
Status CheckTokens(const ExampleOptions& options, int least);

// Fewer of anything would be no text to look for it in: at most half of a document is planted.
inline constexpr int kMaxPlantedShare = 2;

// The text around the lines, exactly so many tokens.
using MakeHay = FunctionRef<std::vector<TokenId>(int tokens)>;
// Each line goes where a line of `hay` ends at or before its depth, lines of equal depth in the order of the plan.
// kInvalidArgument: too few tokens.
Result<Example> Plant(const Filler& filler, const ExampleOptions& options, Plan plan, MakeHay hay);
// In the filler's text. Also kInvalidArgument when it is too short.
Result<Example> Plant(const Filler& filler, const ExampleOptions& options, Plan plan);

}  // namespace nosa::tasks

// A long list of words in which three are far more common than the others: which? The answer is nowhere in the text;
// it is a sum over all of it, which attention to a few blocks can only estimate.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "tasks/plant.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

constexpr size_t kCommon = 3;
constexpr size_t kWordsPerLine = 8;
// Common words come in bursts, as words of real texts do: a line has none of them, or half of it is one. So a part of
// the text is not like the whole. Of each 16 lines these many are about the most common word, the second and the third:
// then they are 6, 5 and 3 times as frequent as any other noun, and their order is sure with 16 lines.
constexpr std::array<int, kCommon> kLinesOf = {4, 3, 2};
constexpr int kLeastLines = 16;
constexpr size_t kBurst = kWordsPerLine / 2;

int LinesOf(size_t common, int lines) { return lines * kLinesOf[common] / kLeastLines; }

// Words as tokens, and lines of them.
class WordList {
 public:
  WordList(const text::Tokenizer& tokenizer, uint64_t seed)
      : words_(DrawNouns(Nouns().size(), seed)),
        hash_(EncodePiece(tokenizer, "#")),
        line_break_(EncodePiece(tokenizer, "\n")),
        draws_(seed, kTextStream) {
    for (const std::string_view word : words_) ids_.push_back(EncodePiece(tokenizer, fmt::format(" {}", word)));
  }

  // The most common first.
  std::span<const std::string_view> common() const { return std::span(words_).first(kCommon); }

  // Tokens of Make(lines), which do not depend on the order of words.
  int Tokens(int lines) const {
    size_t tokens = static_cast<size_t>(lines) * (hash_.size() + line_break_.size());
    size_t others = static_cast<size_t>(lines) * kWordsPerLine;
    for (size_t i = 0; i < kCommon; ++i) {
      const size_t words = static_cast<size_t>(LinesOf(i, lines)) * kBurst;
      tokens += words * ids_[i].size();
      others -= words;
    }
    const size_t kinds = ids_.size() - kCommon;
    for (size_t i = 0; i < kinds; ++i)
      tokens += ids_[kCommon + i].size() * (others / kinds + (i < others % kinds ? 1 : 0));
    return static_cast<int>(tokens);
  }

  // Lines in a random order, which[i] the common word of line i, kCommon for none.
  std::vector<std::vector<TokenId>> Make(int lines, std::vector<size_t>* which) {
    which->assign(static_cast<size_t>(lines), kCommon);
    size_t at = 0;
    for (size_t i = 0; i < kCommon; ++i) {
      for (int k = 0; k < LinesOf(i, lines); ++k) (*which)[at++] = i;
    }
    draws_.Shuffle(which);
    std::vector<std::vector<TokenId>> out;
    for (const size_t common : *which) out.push_back(Line(common));
    return out;
  }

  // A line about the common word, or about none.
  std::vector<TokenId> Line(size_t common) {
    std::vector<size_t> line(common < kCommon ? kBurst : 0, common);
    // All others in turn: none of them becomes common by chance.
    while (line.size() < kWordsPerLine) line.push_back(kCommon + others_++ % (ids_.size() - kCommon));
    draws_.Shuffle(&line);
    std::vector<TokenId> ids = hash_;
    for (const size_t word : line) ids.insert(ids.end(), ids_[word].begin(), ids_[word].end());
    ids.insert(ids.end(), line_break_.begin(), line_break_.end());
    return ids;
  }

 private:
  std::vector<std::string_view> words_;
  std::vector<TokenId> hash_, line_break_;
  std::vector<std::vector<TokenId>> ids_;  // of " word"
  Draws draws_;
  size_t others_ = 0;  // words of a line that are not common, so far
};

class CommonWords final : public Task {
 public:
  int max_questions() const override { return 1; }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_RETURN_IF_ERROR(QuestionDepths(options, max_questions()).status());
    WordList list(filler.tokenizer(), options.seed);
    Plan plan;
    plan.Ask(filler.tokenizer(), "\n# The most common words are", fmt::format(" {}.", fmt::join(list.common(), ", ")));
    Example example;
    example.questions = std::move(plan.questions);
    const int asked = example.total();
    NOSA_RETURN_IF_ERROR(CheckTokens(options, asked + list.Tokens(kLeastLines)));
    const int tokens = options.tokens - asked;
    int lines = kLeastLines;
    while (list.Tokens(lines + 1) <= tokens) ++lines;
    std::vector<size_t> which;
    const std::vector<std::vector<TokenId>> text = list.Make(lines, &which);
    // What is missing is the end of a line without common words, as if the text had begun earlier.
    const auto missing = static_cast<size_t>(tokens - list.Tokens(lines));
    std::vector<TokenId>& document = example.document;
    while (document.size() < missing) {
      const std::vector<TokenId> line = list.Line(kCommon);
      document.insert(document.begin(), line.begin(), line.end());
    }
    document.erase(document.begin(), document.end() - static_cast<std::ptrdiff_t>(missing));
    Question& question = example.questions.front();
    for (size_t i = 0; i < text.size(); ++i) {
      if (which[i] < kCommon) question.evidence.push_back(static_cast<TokenPos>(document.size()));
      document.insert(document.end(), text[i].begin(), text[i].end());
    }
    question.depth = static_cast<double>(question.evidence.front()) / tokens;
    NOSA_CHECK(example.total() == options.tokens, "{} of {} tokens", example.total(), options.tokens);
    return example;
  }
};

}  // namespace

std::unique_ptr<Task> MakeCommonWords() { return std::make_unique<CommonWords>(); }

}  // namespace nosa::tasks

// A long list of pairs of UUIDs, `"KEY": "VALUE",` on a line each, and nothing else: no word says where to look.
#include <fmt/format.h>

#include "base/rng.h"
#include "tasks/plant.h"
#include "tasks/shuffle.h"
#include "tasks/words.h"

namespace nosa::tasks {
namespace {

// The `i`-th of a seed: random, of version 4.
std::string Uuid(uint64_t seed, uint64_t i) {
  const auto w = Philox(seed, kTextStream).Block(i);
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:04x}{:08x}", w[0], w[1] >> 16, w[1] & 0xfff,
                     0x8000 | (w[2] >> 16 & 0x3fff), w[2] & 0xffff, w[3]);
}

struct Pair {
  std::string key, value;

  Pair(uint64_t seed, uint64_t i)
      : key(fmt::format("\"{}\":", Uuid(seed, 2 * i))), value(fmt::format(" \"{}\",", Uuid(seed, 2 * i + 1))) {}
};

class KeyValue final : public Task {
 public:
  int max_questions() const override { return 32; }

  Result<Example> Make(const Filler& filler, const ExampleOptions& options) const override {
    NOSA_ASSIGN_OR_RETURN(const std::vector<double> depths, QuestionDepths(options, max_questions()));
    Plan plan;
    uint64_t pairs = 0;
    for (const double depth : depths) {
      const Pair pair(options.seed, pairs++);
      plan.Ask(filler.tokenizer(), "\n" + pair.key, pair.value);
      plan.Evidence(filler.tokenizer(), pair.key + pair.value, depth);
    }
    return Plant(filler, options, std::move(plan), [&](int tokens) {
      std::vector<TokenId> text;
      while (text.size() < static_cast<size_t>(tokens)) {
        const Pair pair(options.seed, pairs++);
        const std::vector<TokenId> line = EncodePiece(filler.tokenizer(), pair.key + pair.value + "\n");
        text.insert(text.end(), line.begin(), line.end());
      }
      // The first line loses its beginning, as if the text were longer: the last stays whole before the question.
      text.erase(text.begin(), text.end() - tokens);
      return text;
    });
  }
};

}  // namespace

std::unique_ptr<Task> MakeKeyValue() { return std::make_unique<KeyValue>(); }

}  // namespace nosa::tasks

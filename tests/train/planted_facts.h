// A task that a model of a million parameters learns in a minute: facts planted among noise, then questions about them.
// A fact is one token (a name with its value), a question one (the name), and so is an answer (the value): what is to
// be learnt is to look up the block where a name occurred, which is what sparse attention can get wrong.
#pragma once

#include <string_view>
#include <vector>

#include "base/rng.h"
#include "train/sequence_source.h"

namespace nosa::train {

class PlantedFacts final : public SequenceSource {
 public:
  static constexpr int kNames = 16, kValues = 10;
  static constexpr int kQuestions = kNames * kValues;   // first token of questions, one for each name
  static constexpr int kAnswers = kQuestions + kNames;  // first token of answers, one for each value
  static constexpr int kNoise = kAnswers + kValues;     // first token of the rest
  static constexpr int kVocabulary = 256;
  static constexpr int kFactDistance = 4;  // tokens of the text for each fact, at most kNames facts

  explicit PlantedFacts(uint64_t seed) : seed_(seed) {}
  std::string_view name() const override { return "planted facts"; }
  Status Check(int) const override { return Status::Ok(); }
  uint64_t fingerprint() const override { return seed_; }

  struct Text {
    std::vector<int> tokens;
    std::vector<int> names, values;  // of the facts
  };
  // Noise with facts at random places, each name once.
  Text MakeText(uint64_t number, int length) const {
    const Draws draw(seed_, number);
    Text text;
    for (int i = 0; i < length; ++i) text.tokens.push_back(kNoise + draw(i, kVocabulary - kNoise));
    std::vector<int> names, places;
    for (int i = 0; i < kNames; ++i) names.push_back(i);
    for (int i = 0; i < length; ++i) places.push_back(i);
    const int facts = std::min(kNames, length / kFactDistance);
    for (int i = 0; i < facts; ++i) {
      std::swap(names[static_cast<size_t>(i)], names[static_cast<size_t>(i + draw(1000 + i, kNames - i))]);
      std::swap(places[static_cast<size_t>(i)], places[static_cast<size_t>(i + draw(2000 + i, length - i))]);
      text.names.push_back(names[static_cast<size_t>(i)]);
      text.values.push_back(draw(3000 + i, kValues));
      text.tokens[static_cast<size_t>(places[static_cast<size_t>(i)])] =
          text.names.back() * kValues + text.values.back();
    }
    return text;
  }

  // Text, then questions about all its facts, over and over, with their answers, which alone are learnt. Short
  // sequences are half text, long ones three quarters: an answer given twice could be read off the first.
  Status Fill(uint64_t number, const Row& row) const override {
    const size_t length = row.ids.size();
    const size_t size = (length <= 64 ? length / 2 : length * 3 / 4) + 1;
    const Text text = MakeText(number, static_cast<int>(size));
    std::vector<int> tokens = text.tokens;
    for (int i = 0; tokens.size() < length + 1; ++i) {
      const size_t fact = static_cast<size_t>(i) % text.names.size();
      tokens.push_back(kQuestions + text.names[fact]);
      tokens.push_back(kAnswers + text.values[fact]);
    }
    for (size_t t = 0; t < length; ++t) {
      row.ids[t] = tokens[t];
      row.targets[t] = tokens[t + 1];
      row.answers[t] = t + 1 >= text.tokens.size() && (t + 1 - text.tokens.size()) % 2 == 1 ? 1 : 0;
      row.weights[t] = row.answers[t];
    }
    return Status::Ok();
  }

 private:
  class Draws {
   public:
    Draws(uint64_t seed, uint64_t number) : random_(seed, number) {}
    // In [0, n), by the draw's place.
    int operator()(int i, int n) const {
      return static_cast<int>(random_.Block(static_cast<uint64_t>(i))[0] % static_cast<uint32_t>(n));
    }

   private:
    Philox random_;
  };

  uint64_t seed_;
};

}  // namespace nosa::train

// Damaged files: a few hundred fixed mutations of a small tokenizer.json must be refused or work, never crash.
// tests/fuzz/tokenizer_fuzz.cc does the same without end.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "text/tokenizer.h"
#include "text/tokenizer_test_data.h"

namespace nosa::text {
namespace {

constexpr std::string_view kText = "hello I'm 12\r\n  <s></s><x> e\u0301 \u4F60\xFF";

// Pieces that make other valid files more often than random bytes do.
constexpr std::string_view kPieces[] = {
    "null", "true",      "[]",         "{}",           "-1",       "1e99",    "4194303", "9223372036854775808",
    "\"\"", "\"Split\"", "\"Digits\"", "\"Sequence\"", "\"NFKD\"", "\\u0000", "0",       "\"h\"",
    ","};

std::string Mutate(std::string json, uint64_t seed) {
  const Philox rng(seed);
  const uint32_t edits = 1 + rng.Block(0)[0] % 3;
  for (uint32_t e = 0; e < edits; ++e) {
    const auto r = rng.Block(e + 1);
    const size_t at = r[0] % json.size();
    const size_t length = std::min<size_t>(json.size() - at, r[1] % 12);
    switch (r[2] % 4) {
      case 0: json[at] = static_cast<char>(r[3]); break;
      case 1: json.erase(at, length); break;
      case 2: json.insert(at, json.substr(r[3] % json.size(), length)); break;
      default: {
        // A whole value: from behind a colon to the next comma or bracket.
        const size_t begin = json.find(':', at);
        const size_t end = json.find_first_of(",}]", begin);
        if (end != json.npos) json.replace(begin + 1, end - begin - 1, kPieces[r[3] % std::size(kPieces)]);
      }
    }
  }
  return json;
}

TEST(TokenizerMutation, RefusedOrUsable) {
  // Without the many bytes of the alphabet, so that mutations meet the other fields.
  io::Json config = SmallTokenizer();
  io::Json vocab = io::Json::object();
  int id = 0;
  for (const char* name : {"h", "e", "l", "o", "he", "ll", "hell", "<", "s", ">"}) vocab[name] = id++;
  config["model"]["vocab"] = vocab;
  const std::string json = io::DumpJson(config);
  int usable = 0;
  constexpr int kRuns = 600;
  for (int seed = 0; seed < kRuns; ++seed) {
    const auto t = Tokenizer::FromJson(Mutate(json, static_cast<uint64_t>(seed)), "mutated");
    if (!t.ok()) {
      EXPECT_FALSE(t.status().message().empty());
      continue;
    }
    ++usable;
    for (const bool special : {false, true}) {
      const auto ids = (*t)->Encode(kText, {.add_special_tokens = special, .parse_special_tokens = special});
      EXPECT_TRUE((*t)->Decode(ids, true).ok());
    }
  }
  EXPECT_GT(usable, kRuns / 20);
  EXPECT_LT(usable, kRuns / 2);
}

}  // namespace
}  // namespace nosa::text

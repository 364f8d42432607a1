// Replays what the reference library said: tools/tokenizer_goldens.py says how the cases were made.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "io/json.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

std::filesystem::path Root() { return NOSA_SOURCE_DIR; }

std::string InputOf(const io::Json& entry) {
  if (entry.contains("text")) return entry["text"];
  const auto hex = entry["hex"].get<std::string>();
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2) out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

std::shared_ptr<const Tokenizer> Load(const io::Json& entry) {
  auto config = io::ReadJsonFile(Root() / entry["file"].get<std::string>());
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  for (const auto& [path, value] : entry["set"].items()) {
    std::string pointer = "/" + path;
    for (char& c : pointer)
      if (c == '.') c = '/';
    (*config)[io::Json::json_pointer(pointer)] = value;
  }
  auto tokenizer = Tokenizer::FromJson(io::DumpJson(*config), entry["file"].get<std::string>());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? *tokenizer : nullptr;
}

std::string WellFormed(std::string_view bytes) {
  std::string out;
  AppendWellFormed(bytes, false, &out);
  return out;
}

void Replay(const Tokenizer& tokenizer, const io::Json& c, const std::string& input) {
  const auto ids = tokenizer.Encode(input, {});
  ASSERT_EQ(ids, c["ids"].get<std::vector<TokenId>>());
  const EncodeOptions plain = {.add_special_tokens = false, .parse_special_tokens = false};
  EXPECT_EQ(tokenizer.Encode(input, plain), c.value("plain", ids));

  const std::string repaired = WellFormed(input);
  const auto kept = tokenizer.Decode(ids, true);
  ASSERT_TRUE(kept.ok()) << kept.status().ToString();
  EXPECT_EQ(WellFormed(*kept), c.value("decoded", repaired));
  const auto skipped = tokenizer.Decode(ids, false);
  ASSERT_TRUE(skipped.ok()) << skipped.status().ToString();
  EXPECT_EQ(WellFormed(*skipped), c.value("skipped", repaired));
}

TEST(TokenizerGolden, SameIdsAndTextsAsTheReference) {
  const auto goldens = io::ReadJsonFile(Root() / "tests/golden/tokenizers/cases.json");
  ASSERT_TRUE(goldens.ok()) << goldens.status().ToString();
  size_t cases = 0;
  for (const io::Json& entry : (*goldens)["tokenizers"]) {
    const auto tokenizer = Load(entry);
    ASSERT_NE(tokenizer, nullptr);
    for (const io::Json& c : entry["cases"]) {
      SCOPED_TRACE(fmt::format("{} {} text {}", entry["file"].get<std::string>(), io::DumpJson(entry["set"]),
                               c["text"].get<size_t>()));
      Replay(*tokenizer, c, InputOf((*goldens)["texts"][c["text"].get<size_t>()]));
      ++cases;
    }
  }
  EXPECT_GT(cases, 500u);
}

}  // namespace
}  // namespace nosa::text

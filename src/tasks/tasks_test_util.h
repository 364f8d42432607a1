// What the tests of this room read with: the demo model's tokenizer.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace nosa::tasks {

inline std::shared_ptr<const text::Tokenizer> DemoTokenizer() {
  static const auto tokenizer = *text::Tokenizer::FromFile(NOSA_SOURCE_DIR "/models/nosa-21m/tokenizer.json");
  return tokenizer;
}

inline std::string DemoText(std::span<const TokenId> ids) { return *DemoTokenizer()->Decode(ids, true); }

}  // namespace nosa::tasks

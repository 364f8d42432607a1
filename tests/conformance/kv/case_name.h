// Names of test cases: GoogleTest allows letters, digits and underscores.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <string>

namespace nosa::kv {

// For INSTANTIATE_TEST_SUITE_P over parameters with a `name`.
template <typename Case>
std::string CaseName(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

}  // namespace nosa::kv

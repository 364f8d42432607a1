// An op without a twin, without an entry in a backend's table or without a conformance test fails here.
#include <cctype>
#include <set>

#include "op_test.h"

namespace nosa::ops {
namespace {

struct NamedOp {
  std::string name;
  bool (*filled)(const OpTable&);
};

std::vector<NamedOp> AllOps() {
  return {
#define NOSA_OP(name, Args) {#name, [](const OpTable& table) { return table.name != nullptr; }},
#include "ops/ops.def"
#undef NOSA_OP
  };
}

// "Backends/RmsNormTest" and "rms_norm" are both the suite of rms_norm.
std::string Plain(std::string name) {
  name = name.substr(name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1);
  std::string plain;
  for (const char c : name) {
    if (c != '_') plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return plain.ends_with("test") ? plain.substr(0, plain.size() - 4) : plain;
}

std::set<std::string> TestSuites() {
  std::set<std::string> suites;
  const auto& tests = *testing::UnitTest::GetInstance();
  for (int i = 0; i < tests.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *tests.GetTestSuite(i);
    if (suite.total_test_count() > 0) suites.insert(Plain(suite.name()));
  }
  return suites;
}

TEST(Completeness, EveryTableIsFilled) {
  const auto reference = reference::MakeReferenceBackend();
  for (const NamedOp& op : AllOps()) {
    EXPECT_TRUE(op.filled(reference->table())) << op.name << " has no scalar twin";
    for (const BackendCase& backend : BackendCases()) {
      EXPECT_TRUE(op.filled(backend.make()->table())) << op.name << " is missing from " << backend.name;
    }
  }
}

TEST(Completeness, CudaIsAmongThem) {
  const auto cuda = CudaForTests(true);
  if (!cuda.ok()) GTEST_SKIP() << "not tested: " << cuda.status().message();
  EXPECT_EQ(BackendCases().back().name, "cuda");
}

TEST(Completeness, EveryOpHasATest) {
  const std::set<std::string> suites = TestSuites();
  for (const NamedOp& op : AllOps()) {
    EXPECT_TRUE(suites.contains(Plain(op.name))) << op.name << " has no conformance test: add tests/conformance/ops/"
                                                 << op.name << "_test.cc with TEST(" << op.name << ", ...)";
  }
}

}  // namespace
}  // namespace nosa::ops

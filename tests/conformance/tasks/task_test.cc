#include "task_conformance.h"

namespace nosa::tasks {
namespace {

std::vector<TaskCase> Cases() {
  std::vector<TaskCase> cases;
  for (const TaskInfo& info : TaskInfos()) {
    cases.push_back({std::string(info.name), [](const std::string& name) { return MakeTask(name).value(); }});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Registered, TaskConformance, testing::ValuesIn(Cases()), NameOf);

TEST(TaskRegistry, AnUnknownNameListsTheKnown) {
  const auto task = MakeTask("riddle");
  ASSERT_FALSE(task.ok());
  EXPECT_EQ(task.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(task.status().message().find("commonwords, copy), found \"riddle\""), std::string_view::npos);
}

}  // namespace
}  // namespace nosa::tasks

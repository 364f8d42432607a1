#include "tasks/task.h"

#include <fmt/format.h>

#include <algorithm>

namespace nosa::tasks {

#define NOSA_TASK(name, factory, help) std::unique_ptr<Task> factory();
#include "tasks/tasks.def"
#undef NOSA_TASK

namespace {

struct Entry {
  TaskInfo info;
  std::unique_ptr<Task> (*make)();
};

constexpr Entry kEntries[] = {
#define NOSA_TASK(name, factory, help) {{name, help}, factory},
#include "tasks/tasks.def"
#undef NOSA_TASK
};

}  // namespace

int Example::longest() const {
  size_t longest = 0;
  for (const Question& question : questions) longest = std::max(longest, question.ids.size() + question.answer.size());
  return static_cast<int>(document.size() + longest);
}

int Example::total() const {
  size_t total = document.size();
  for (const Question& question : questions) total += question.ids.size() + question.answer.size();
  return static_cast<int>(total);
}

Result<std::unique_ptr<Task>> MakeTask(std::string_view name) {
  std::string names;
  for (const Entry& entry : kEntries) {
    if (entry.info.name == name) return entry.make();
    names += fmt::format("{}{}", names.empty() ? "" : ", ", entry.info.name);
  }
  return InvalidArgument("expected a task ({}), found \"{}\"", names, name);
}

const std::vector<TaskInfo>& TaskInfos() {
  static const auto* const infos = [] {
    auto* list = new std::vector<TaskInfo>;
    for (const Entry& entry : kEntries) list->push_back(entry.info);
    return list;
  }();
  return *infos;
}

}  // namespace nosa::tasks

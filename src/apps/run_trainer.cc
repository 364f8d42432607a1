#include "apps/run_trainer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/report.h"

namespace nosa::apps {
namespace {

constexpr int kFailed = 1;

}  // namespace

int RunTrainer(char** arguments) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string trainer = (self.parent_path() / "nosa-train").string();
  std::vector<char*> argv = {const_cast<char*>(trainer.c_str())};  // exec changes none of them
  for (char** argument = arguments; *argument != nullptr; ++argument) argv.push_back(*argument);
  argv.push_back(nullptr);
  ::execv(trainer.c_str(), argv.data());
  const int code = errno;
  if (code == ENOENT) {
    PrintError("nosa train",
               fmt::format("there is no {}: training needs LibTorch, and `make trainer` installs that and builds it",
                           trainer));
  } else {
    PrintError("nosa train", fmt::format("cannot run {}: {}", trainer, std::strerror(code)));
  }
  return kFailed;
}

// Only so that --help lists it: main() hands `nosa train` over before flags are read.
void AddTrain(Command command) {
  command.Does([] { return Unimplemented("`train` comes first, and then its flags"); });
}

}  // namespace nosa::apps

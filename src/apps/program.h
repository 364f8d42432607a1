// The program as a function: arguments in, exit code out.
#pragma once

#include <functional>
#include <string>

#include "apps/flags.h"

namespace nosa::apps {

struct Program {
  std::string name = "nosa";  // how its errors begin; "nosa train" for a command that is a program of its own
  std::string help;           // what it is for
  std::function<void(Command root)> describe;  // adds commands below `root`, or flags and what to do to it
};

// 0: done (also --help and --version); 1: it failed; 2: wrong usage. Errors are one sentence on stderr, "nosa generate:
// ...". No exception leaves it.
int RunProgram(const Program& program, int argc, const char* const* argv);

}  // namespace nosa::apps

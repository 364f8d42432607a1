// The program as a function: arguments in, exit code out.
#pragma once

namespace nosa::apps {

// 0: done (also --help and --version); 1: it failed; 2: wrong usage. Errors are one sentence on stderr, "nosa generate:
// ...". No exception leaves it.
int RunProgram(int argc, const char* const* argv);

}  // namespace nosa::apps

// `nosa train`, which is the program nosa-train beside this one.
#pragma once

namespace nosa::apps {

// Becomes nosa-train, with the arguments (up to a null pointer) that follow. Returns only when that cannot be: says
// why, and how to get one; the exit code.
int RunTrainer(char** arguments);

}  // namespace nosa::apps

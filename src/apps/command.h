// The commands of commands.def. Each is one file that describes its flags and what it does:
//
//   void AddGreet(Command command) {
//     auto flags = std::make_shared<GreetFlags>();      // kept alive by the functions below
//     command.Text("--name", &flags->name, "whom to greet");
//     command.Does([flags] { return Greet(*flags); });
//   }
#pragma once

#include "apps/flags.h"

namespace nosa::apps {

#define NOSA_COMMAND(name, function, help) void function(Command command);
#include "apps/commands.def"
#undef NOSA_COMMAND

}  // namespace nosa::apps

#include <string_view>

#include "apps/command.h"
#include "apps/program.h"
#include "apps/run_trainer.h"

namespace {

void Describe(nosa::apps::Command root) {
#define NOSA_COMMAND(name, function, help) nosa::apps::function(root.Sub(name, help));
#include "apps/commands.def"
#undef NOSA_COMMAND
}

}  // namespace

int main(int argc, char** argv) {
  // A program of its own, with flags of its own: the rest of nosa runs without LibTorch.
  if (argc > 1 && std::string_view(argv[1]) == "train") return nosa::apps::RunTrainer(argv + 2);
  return nosa::apps::RunProgram(
      {.help = "Runs long-context language models whose KV cache does not fit.", .describe = Describe}, argc, argv);
}

#include "apps/program.h"
#include "trainer/train_command.h"

int main(int argc, char** argv) {
  return nosa::apps::RunProgram(
      {.name = "nosa train",
       .help = "Learns a model from text, dense or sparse; what it writes, nosa generates from.",
       .describe = nosa::trainer::DescribeTrain},
      argc, argv);
}

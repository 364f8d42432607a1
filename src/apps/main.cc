#include "apps/program.h"

int main(int argc, char** argv) { return nosa::apps::RunProgram(argc, argv); }

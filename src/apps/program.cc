#include "apps/program.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/report.h"

namespace nosa::apps {
namespace {

constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2;

// "nosa bench decode": as much of the command as was understood.
std::string Prefix(const CLI::App& program) {
  std::string prefix = program.get_name();
  for (const CLI::App* app = &program; !app->get_subcommands().empty();) {
    app = app->get_subcommands().front();
    prefix.append(" ").append(app->get_name());
  }
  return prefix;
}

void Describe(CLI::App* program, std::vector<Command>* leaves) {
  program->set_version_flag("--version", "nosa " NOSA_VERSION);
  program->require_subcommand(1);
  program->get_formatter()->column_width(34);
#define NOSA_COMMAND(name, function, help) function(Command(program->add_subcommand(name, help), leaves));
#include "apps/commands.def"
#undef NOSA_COMMAND
}

int RunChosen(const CLI::App& program, const std::vector<Command>& leaves) {
  for (const Command& command : leaves) {
    if (!command.Chosen()) continue;
    Status status = command.Check();
    if (!status.ok()) {
      PrintError(Prefix(program), status.message());
      return kWrongUsage;
    }
    InstallInterruptHandler();
    status = command.Run();
    if (status.ok()) status = FlushStdout();
    if (status.ok()) return kDone;
    PrintError(Prefix(program), status.message());
    return kFailed;
  }
  PrintError(Prefix(program), "no command was chosen");
  return kWrongUsage;
}

}  // namespace

int RunProgram(int argc, const char* const* argv) {
  CLI::App program("Runs long-context language models whose KV cache does not fit.", "nosa");
  try {
    std::vector<Command> leaves;
    Describe(&program, &leaves);
    try {
      program.parse(argc, argv);
    } catch (const CLI::Success& asked) {  // --help, --version
      program.exit(asked);
      return FlushStdout().ok() ? kDone : kFailed;
    } catch (const CLI::ParseError& error) {
      PrintError(Prefix(program), std::string(error.what()) + " (see --help)");
      return kWrongUsage;
    }
    return RunChosen(program, leaves);
  } catch (const std::bad_alloc&) {
    PrintError(Prefix(program), "the system has no memory left");
  } catch (const std::exception& error) {
    PrintError(Prefix(program), error.what());
  }
  return kFailed;
}

}  // namespace nosa::apps

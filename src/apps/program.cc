#include "apps/program.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "apps/interrupt.h"
#include "apps/report.h"

namespace nosa::apps {
namespace {

constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2;

// The command that was understood last.
const CLI::App& Deepest(const CLI::App& program) {
  const CLI::App* app = &program;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return *app;
}

// "nosa bench decode": as much of the command as was understood.
std::string Prefix(const CLI::App& program) {
  const CLI::App* app = &Deepest(program);
  std::string prefix = app->get_name();
  for (app = app->get_parent(); app != nullptr; app = app->get_parent()) prefix = app->get_name() + " " + prefix;
  return prefix;
}

// Says what is wrong with the arguments: one sentence, or the help of a command that needs another word.
void ExplainUsage(const CLI::App& program, const CLI::ParseError& error) {
  const CLI::App& command = Deepest(program);
  std::vector<std::string> known;
  for (const CLI::App* app : command.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(app->get_name());
  if (known.empty()) return PrintError(Prefix(program), std::string(error.what()) + " (see --help)");
  const std::vector<std::string> rest = command.remaining();
  if (rest.empty()) {
    const std::string help = program.help();
    std::fwrite(help.data(), 1, help.size(), stderr);
    return;
  }
  const std::string_view kind = rest[0].starts_with('-') ? "option" : "command";
  PrintError(Prefix(program),
             fmt::format("unknown {} \"{}\"; commands: {} (see --help)", kind, rest[0], fmt::join(known, ", ")));
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

int RunProgram(const Program& described, int argc, const char* const* argv) {
  CLI::App program(described.help, described.name);
  try {
    program.set_version_flag("--version", "nosa " NOSA_VERSION);
    program.get_formatter()->column_width(34);
    std::vector<Command> leaves;
    described.describe(Command(&program, &leaves));
    try {
      program.parse(argc, argv);
    } catch (const CLI::Success& asked) {  // --help, --version
      program.exit(asked);
      return FlushStdout().ok() ? kDone : kFailed;
    } catch (const CLI::ParseError& error) {
      ExplainUsage(program, error);
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

// Flags of one command: what may be given, where its value goes, what `--help` says. The one door to CLI11, which only
// flags.cc and program.cc include: commands stay quick to compile.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace nosa::apps {

// A command of the program, while it is being described. Names are as given on the command line ("--topk"). Variables
// outlive the parsing; what they hold when a flag is added is its default, shown by `--help` unless it is empty. A
// wrong value is wrong usage: one sentence naming the flag, what it takes and what was found.
class Command {
 public:
  // Borrows `app`. Made by program.cc and by Sub.
  Command(CLI::App* app, std::vector<Command>* leaves) : app_(app), leaves_(leaves) {}

  void Switch(const std::string& name, bool* value, const std::string& help);
  void OnOff(const std::string& name, bool* value, const std::string& help);
  void Text(const std::string& name, std::string* value, const std::string& help, const std::string& type = "TEXT");
  void Text(const std::string& name, std::optional<std::string>* value, const std::string& help,
            const std::string& type = "TEXT");
  // May be given several times.
  void Texts(const std::string& name, std::vector<std::string>* values, const std::string& help,
             const std::string& type = "TEXT");
  // One of `choices`.
  void Choice(const std::string& name, std::string* value, std::vector<std::string> choices, const std::string& help);
  void Int(const std::string& name, int* value, int min, const std::string& help,
           int max = std::numeric_limits<int>::max());
  void Int(const std::string& name, std::optional<int>* value, int min, const std::string& help);
  // Several integers: "4096,8192", given once or several times. Replaces the default.
  void Ints(const std::string& name, std::vector<int>* values, int min, const std::string& help);
  void Seed(const std::string& name, uint64_t* value, const std::string& help);
  void Number(const std::string& name, float* value, const std::string& help);
  void Number(const std::string& name, double* value, const std::string& help);
  // Bytes, as people write them: 512MiB.
  void Size(const std::string& name, std::optional<uint64_t>* value, const std::string& help);
  // Any other value: `parse` gets the text, and its error becomes the sentence.
  void Parsed(const std::string& name, const std::string& type, std::function<Status(std::string_view)> parse,
              const std::string& help);
  // The flag `name`, already added, must be given.
  void Required(const std::string& name);

  // A command below this one ("bench decode"); then this one does nothing by itself.
  Command Sub(const std::string& name, const std::string& help);
  // What the command does once its flags are read. `check` looks at flags alone: its error is wrong usage (exit code
  // 2). An error of `run` is exit code 1; the sentence is printed by the caller, nothing else.
  void Does(std::function<Status()> run, std::function<Status()> check = nullptr);

  // "generate", "bench decode".
  std::string Path() const;
  bool Chosen() const;
  Status Check() const { return check_ ? check_() : Status::Ok(); }
  Status Run() const { return run_(); }

 private:
  CLI::Option* Add(const std::string& name, const std::string& type, const std::string& shown_default,
                   const std::string& help, std::function<Status(std::string_view)> parse);

  CLI::App* app_;
  std::vector<Command>* leaves_;  // commands that do something, in a list of the program's
  std::function<Status()> check_, run_;
};

}  // namespace nosa::apps

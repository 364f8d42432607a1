// What the program says: results to stdout, one sentence to stderr when it fails.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/status.h"
#include "io/json.h"

namespace nosa::apps {

// "nosa generate: cannot open a.json: No such file or directory\n" on stderr; line breaks inside become spaces.
void PrintError(std::string_view prefix, std::string_view message);

// To stdout, not flushed.
void Print(std::string_view text);
// One line.
void PrintJson(const io::OrderedJson& json);
// kIo when stdout did not take all that was printed (a full disk, a closed pipe).
Status FlushStdout();

// That the file named by `flag` can be written, found before the work rather than after it.
Status CheckOutputFile(std::string_view flag, const std::filesystem::path& file);

}  // namespace nosa::apps

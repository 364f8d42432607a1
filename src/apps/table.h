// Aligned columns for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nosa::apps {

// Rows of cells. A column whose cells below the header all begin with a digit, a sign or a dash is aligned to the
// right, others to the left. Widths count characters, not bytes, of UTF-8.
class Table {
 public:
  Table() = default;
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}

  // As many cells as the header has, if there is one; else as many as the first row.
  void Row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // Lines that end in '\n', two blanks between columns, no blanks at line ends; a rule under the header.
  std::string ToString() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "12,000"
std::string FormatCount(int64_t count);

// Two columns without a header: what it is, and its value.
std::string FormatFacts(const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace nosa::apps

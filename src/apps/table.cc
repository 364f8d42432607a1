#include "apps/table.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

#include "base/check.h"

namespace nosa::apps {
namespace {

size_t Width(const std::string& cell) {
  // Bytes that begin a character.
  return static_cast<size_t>(std::count_if(cell.begin(), cell.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

bool LooksNumeric(const std::string& cell) {
  return cell.empty() || std::isdigit(static_cast<unsigned char>(cell.front())) != 0 || cell.front() == '-' ||
         cell.front() == '+';
}

std::string Line(const std::vector<std::string>& cells, const std::vector<size_t>& widths,
                 const std::vector<bool>& right) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string pad(widths[i] - Width(cells[i]), ' ');
    if (i > 0) line += "  ";
    line += right[i] ? pad + cells[i] : cells[i] + pad;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

}  // namespace

void Table::Row(std::vector<std::string> cells) {
  const size_t columns = !header_.empty() ? header_.size() : rows_.empty() ? cells.size() : rows_.front().size();
  NOSA_CHECK(cells.size() == columns, "a row of {} cells in a table of {} columns", cells.size(), columns);
  rows_.push_back(std::move(cells));
}

std::string Table::ToString() const {
  const size_t columns = !header_.empty() ? header_.size() : rows_.empty() ? 0 : rows_.front().size();
  std::vector<size_t> widths(columns, 0);
  std::vector<bool> right(columns, true);
  for (size_t i = 0; i < columns; ++i) {
    if (!header_.empty()) widths[i] = Width(header_[i]);
    for (const auto& row : rows_) {
      widths[i] = std::max(widths[i], Width(row[i]));
      right[i] = right[i] && LooksNumeric(row[i]);
    }
  }
  std::string text;
  if (!header_.empty()) {
    text += Line(header_, widths, right);
    std::vector<std::string> rule;
    for (const size_t width : widths) rule.emplace_back(width, '-');
    text += Line(rule, widths, right);
  }
  for (const auto& row : rows_) text += Line(row, widths, right);
  return text;
}

std::string FormatCount(int64_t count) {
  std::string text = std::to_string(count);
  const size_t first = text.starts_with('-') ? 1 : 0;
  for (size_t i = text.size(); i > first + 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

std::string FormatFacts(const std::vector<std::pair<std::string, std::string>>& facts) {
  size_t width = 0;
  for (const auto& fact : facts) width = std::max(width, Width(fact.first));
  std::string text;
  for (const auto& [what, value] : facts) text += what + std::string(width - Width(what) + 2, ' ') + value + '\n';
  return text;
}

}  // namespace nosa::apps

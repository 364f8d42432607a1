#include "io/nearest_name.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace nosa::io::internal {
namespace {

// Bounds the work when a damaged file holds a name of megabytes.
constexpr size_t kMaxCompared = 200;

// Levenshtein's distance, one row of the table at a time.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string NearestName(std::string_view wanted, std::span<const std::string> names) {
  std::string nearest;
  size_t best = std::numeric_limits<size_t>::max();
  for (const std::string& name : names) {
    const size_t distance =
        EditDistance(wanted.substr(0, kMaxCompared), std::string_view(name).substr(0, kMaxCompared));
    if (distance >= best) continue;
    best = distance;
    nearest = name;
  }
  return nearest;
}

}  // namespace nosa::io::internal

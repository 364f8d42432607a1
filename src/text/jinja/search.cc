#include "text/jinja/search.h"

#include <cstring>
#include <string>

namespace nosa::text::jinja {

size_t FindFirst(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (part.empty()) return from;
  // The C library's two-way search. An empty range may have no address.
  if (from == text.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindLast(std::string_view text, std::string_view part) {
  const std::string backwards(text.rbegin(), text.rend()), wanted(part.rbegin(), part.rend());
  const size_t found = FindFirst(backwards, wanted);
  return found == std::string_view::npos ? found : text.size() - found - part.size();
}

}  // namespace nosa::text::jinja

#include "apps/disk_place.h"

#include <cctype>

#include "base/bytes.h"

namespace nosa::apps {
namespace {

bool LooksLikeSize(std::string_view text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) != 0 &&
         text.find('/') == std::string_view::npos;
}

}  // namespace

Result<DiskPlace> ParseDiskPlace(std::string_view text) {
  DiskPlace place = {std::string(text)};
  const size_t colon = text.rfind(':');
  if (colon != std::string_view::npos && LooksLikeSize(text.substr(colon + 1))) {
    place.directory = text.substr(0, colon);
    NOSA_ASSIGN_OR_RETURN(place.capacity_bytes, ParseByteSize(text.substr(colon + 1)));
    if (place.capacity_bytes == 0)
      return InvalidArgument("expected DIR or DIR:SIZE with a size above 0, found \"{}\"", text);
  }
  if (place.directory.empty()) return InvalidArgument("expected DIR or DIR:SIZE, found \"{}\"", text);
  return place;
}

}  // namespace nosa::apps

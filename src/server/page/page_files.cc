#include "server/page/page_files.h"

#include <utility>

namespace nosa::server {

const PageFile* FindPageFile(std::string_view name) {
  for (const PageFile& file : PageFiles()) {
    if (file.name == name) return &file;
  }
  return nullptr;
}

std::string_view ContentTypeOf(std::string_view name) {
  using Type = std::pair<std::string_view, std::string_view>;
  constexpr Type kTypes[] = {{".html", "text/html; charset=utf-8"},
                             {".css", "text/css; charset=utf-8"},
                             {".js", "text/javascript; charset=utf-8"},
                             {".svg", "image/svg+xml"}};
  for (const auto& [ending, type] : kTypes) {
    if (name.ends_with(ending)) return type;
  }
  return "application/octet-stream";
}

}  // namespace nosa::server

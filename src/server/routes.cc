#include "server/routes.h"

namespace nosa::server {
namespace {

constexpr Route kRoutes[] = {
#define NOSA_ROUTE(method, path, handler, access, body, summary) \
  {method, path, handler, Access::access, BodyKind::body, summary},
#include "server/routes.def"
#undef NOSA_ROUTE
};

bool Fits(const Route& route, std::string_view path) {
  if (!route.takes_tail()) return path == route.path;
  return path.starts_with(route.stem()) && path.size() > route.stem().size();
}

}  // namespace

std::span<const Route> Routes() { return kRoutes; }

RouteMatch FindRoute(std::string_view method, std::string_view path) {
  RouteMatch match;
  for (const Route& route : kRoutes) {
    if (!Fits(route, path)) continue;
    if (route.method == method) return {&route, route.takes_tail() ? path.substr(route.stem().size()) : "", ""};
    if (!match.allowed.empty()) match.allowed += ", ";
    match.allowed += route.method;
    if (route.method == "GET") match.allowed += ", HEAD";
  }
  return match;
}

}  // namespace nosa::server

// The one table of routes: what the server answers, and what /openapi.json describes.
#pragma once

#include <span>
#include <string_view>

#include "server/http.h"

namespace nosa::server {

struct App;

enum class Access : uint8_t { kOpen, kKey };

// Whose fields of fields.def a body takes.
enum class BodyKind : uint8_t { kNone, kChat, kCompletion, kTokenize, kDetokenize };

// Called on many connections' threads at once.
using Handler = HttpReply (*)(App& app, const HttpRequest& request);

#define NOSA_ROUTE(method, path, handler, access, body, summary) \
  HttpReply handler(App& app, const HttpRequest& request);
#include "server/routes.def"
#undef NOSA_ROUTE

struct Route {
  std::string_view method, path;
  Handler handler = nullptr;
  Access access = Access::kKey;
  BodyKind body = BodyKind::kNone;
  std::string_view summary;

  bool takes_tail() const { return path.ends_with('}'); }
  // The path up to the brace.
  std::string_view stem() const { return path.substr(0, path.find('{')); }
};

std::span<const Route> Routes();

struct RouteMatch {
  const Route* route = nullptr;  // null: no route has this path, or none of its methods is `method`
  std::string_view tail;         // of the path given
  std::string allowed;           // with a null route: methods that the path takes, "GET, HEAD"; "" when it has none
};
// `path`: percent-decoded. Paths are compared whole; nothing in them is resolved.
RouteMatch FindRoute(std::string_view method, std::string_view path);

}  // namespace nosa::server

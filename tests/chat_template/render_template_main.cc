// Renders chat templates for differential_test.py: a line of JSON in, {"template": ..., "context": {...}}, a line
// out, {"ok": text} or {"error": sentence}. strftime_now tells the start of 2024-07-26, 12:00 UTC.
#include <iostream>
#include <string>

#include "io/json.h"
#include "text/chat_template.h"

namespace {

nosa::io::OrderedJson Answer(const std::string& line) {
  using nosa::io::OrderedJson;
  const OrderedJson request = OrderedJson::parse(line);
  const auto parsed = nosa::text::ChatTemplate::Parse(request.at("template").get<std::string>());
  if (!parsed.ok()) return {{"error", parsed.status().ToString()}};
  constexpr std::time_t kNow = 1721995200;
  const auto text = parsed->Render(request.at("context"), {}, [] { return kNow; });
  if (!text.ok()) return {{"error", text.status().ToString()}};
  return {{"ok", *text}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) std::cout << nosa::io::DumpJson(Answer(line)) << '\n';
  return 0;
}

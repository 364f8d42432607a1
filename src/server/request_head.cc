#include "server/request_head.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nosa::server {
namespace {

using MaybeError = std::optional<ApiError>;

constexpr size_t kMostLineBytes = 8000;  // the library takes 8,192

ApiError Refuse(int status, std::string message) { return {.http_status = status, .message = std::move(message)}; }

bool IsToken(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  const auto good = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || kMarks.find(c) != kMarks.npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), good);
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// A host without its port: "[::1]:80", "localhost:80", "::1".
std::string_view WithoutPort(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, std::min(host.find(']'), host.size() - 1) + 1);
  const size_t colon = host.find(':');
  // More than one colon: an IPv6 address that nobody bracketed.
  return colon == host.rfind(':') ? host.substr(0, colon) : host;
}

MaybeError CheckRequestLine(std::string_view line) {
  const size_t first = line.find(' '), second = line.find(' ', first + 1);
  if (first == line.npos || second == line.npos || line.find(' ', second + 1) != line.npos ||
      !IsToken(line.substr(0, first)))
    return Refuse(400, "Expected a request line of a method, a target and a version.");
  const std::string_view version = line.substr(second + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return Refuse(505, "Expected HTTP/1.1 or HTTP/1.0.");
  const std::string_view target = line.substr(first + 1, second - first - 1);
  if (!target.starts_with('/')) return Refuse(400, "Expected a target that begins with a slash.");
  return std::nullopt;
}

MaybeError ReadHeader(std::string_view name, std::string_view value, RequestHead* parsed, bool* has_length) {
  if (name == "content-length") {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed->content_length);
    if (*has_length || value.empty() || error != std::errc() || end != value.data() + value.size())
      return Refuse(400, "Expected one Content-Length, a number.");
    *has_length = true;
  } else if (name == "transfer-encoding") {
    if (parsed->chunked || LowerCase(value) != "chunked")
      return Refuse(501, "Expected no Transfer-Encoding but chunked.");
    parsed->chunked = true;
  } else if (name == "content-encoding") {
    if (LowerCase(value) != "identity") return Refuse(415, "Expected a body without a Content-Encoding.");
  } else if (name == "host") {
    if (!parsed->host.empty()) return Refuse(400, "Expected one Host.");
    parsed->host = LowerCase(WithoutPort(value));
  } else if (name == "origin") {
    parsed->origin = value;
  }
  return std::nullopt;
}

}  // namespace

bool IsLoopback(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::string text(host);
  if (text == "localhost") return true;
  in_addr v4 = {};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6 = {};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string_view HostOfOrigin(std::string_view origin) {
  const size_t scheme = origin.find("://");
  return scheme == origin.npos ? "" : WithoutPort(origin.substr(scheme + 3));
}

MaybeError ParseHead(std::string_view head, const HttpLimits& limits, RequestHead* parsed) {
  bool has_length = false;
  for (int line_number = 0;; ++line_number) {
    const size_t end = head.find("\r\n");
    if (end == head.npos) return Refuse(400, "Expected a head that ends with an empty line.");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (line.empty() && line_number > 0) break;
    if (line.size() > kMostLineBytes)
      return line_number == 0 ? Refuse(414, fmt::format("The request line is longer than {} bytes.", kMostLineBytes))
                              : Refuse(431, fmt::format("A header is longer than {} bytes.", kMostLineBytes));
    if (line_number > limits.header_lines)
      return Refuse(431, fmt::format("There are more than {} headers.", limits.header_lines));
    const auto control = [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F; };
    if (std::any_of(line.begin(), line.end(), control)) return Refuse(400, "The head has a control character.");
    if (line_number == 0) {
      if (auto error = CheckRequestLine(line)) return error;
      parsed->text = line;
      parsed->text += "\r\n";
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == line.npos || !IsToken(line.substr(0, colon)))
      return Refuse(400, "Expected headers of a name, a colon and a value, each on one line.");
    const std::string name = LowerCase(line.substr(0, colon));
    if (auto error = ReadHeader(name, Trimmed(line.substr(colon + 1)), parsed, &has_length)) return error;
    if (name == "range" || name == "if-range" || name == "accept-encoding") continue;
    parsed->text += line;
    parsed->text += "\r\n";
  }
  parsed->text += "\r\n";
  if (has_length && parsed->chunked)
    return Refuse(400, "Expected a Content-Length or a Transfer-Encoding, found both.");
  if (parsed->content_length > limits.body_bytes)
    return Refuse(
        413, fmt::format("The body has {} bytes, at most {} are taken.", parsed->content_length, limits.body_bytes));
  return std::nullopt;
}

}  // namespace nosa::server

#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <charconv>

#include "io/file.h"

namespace nosa::server {
namespace {

constexpr size_t kShortestKey = 16;  // 96 bits, where its letters are random

// The next word of *line, which moves past it; "" at the end.
std::string_view NextWord(std::string_view* line) {
  constexpr std::string_view kSpace = " \t\r";
  const size_t begin = std::min(line->find_first_not_of(kSpace), line->size());
  const size_t end = std::min(line->find_first_of(kSpace, begin), line->size());
  const std::string_view word = line->substr(begin, end - begin);
  line->remove_prefix(end);
  return word;
}

Result<double> PositiveNumber(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0 && value < 1e15))
    return InvalidArgument("expected a number above 0, found \"{}\"", text);
  return value;
}

struct Line {
  std::string_view key;
  std::string name;
  engine::TenantLimits limits;
  bool limited = false;
};

Status ReadOption(std::string_view word, Line* line) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  if (name == "name") {
    if (value.empty() || value.size() > 64) return InvalidArgument("name= expects 1 to 64 characters");
    line->name = value;
    return Status::Ok();
  }
  engine::TenantLimits& limits = line->limits;
  line->limited = true;
  if (name == "max-requests") {
    NOSA_ASSIGN_OR_RETURN(const double number, PositiveNumber(value));
    if (number < 1 || number > 1e9) return InvalidArgument("max-requests= expects a whole number of at least 1");
    limits.max_requests = static_cast<int>(number);
  } else if (name == "requests-per-minute") {
    NOSA_ASSIGN_OR_RETURN(limits.requests_per_minute, PositiveNumber(value));
  } else if (name == "tokens-per-minute") {
    NOSA_ASSIGN_OR_RETURN(limits.tokens_per_minute, PositiveNumber(value));
  } else if (name == "weight") {
    NOSA_ASSIGN_OR_RETURN(limits.weight, PositiveNumber(value));
  } else {
    return InvalidArgument(
        "a key is followed by name=, max-requests=, requests-per-minute=, tokens-per-minute= or weight=");
  }
  return Status::Ok();
}

Status ReadLine(std::string_view text, Line* line) {
  line->key = NextWord(&text);
  if (line->key.size() < kShortestKey)
    return InvalidArgument("expected a key of at least {} characters, found {}", kShortestKey, line->key.size());
  for (std::string_view word = NextWord(&text); !word.empty(); word = NextWord(&text))
    NOSA_RETURN_IF_ERROR(ReadOption(word, line));
  return Status::Ok();
}

}  // namespace

ApiKeys::Digest ApiKeys::DigestOf(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

Result<ApiKeys> ApiKeys::FromText(std::string_view text, std::string_view what) {
  ApiKeys keys;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string place = fmt::format("{}, line {}", what, number);
    std::string_view first = row;
    first = NextWord(&first);
    if (first.empty() || first.starts_with('#')) continue;
    Line line;
    line.name = fmt::format("key{}", keys.keys_.size() + 1);
    const Status read = ReadLine(row, &line);
    if (!read.ok()) return read.WithContext(place);
    const Digest digest = DigestOf(line.key);
    for (const Entry& entry : keys.keys_) {
      if (entry.digest == digest) return InvalidArgument("{}: the key is there twice", place);
    }
    if (line.limited && !keys.limits_.emplace(line.name, line.limits).second)
      return InvalidArgument("{}: the limits of \"{}\" are given twice", place, line.name);
    keys.keys_.push_back({digest, std::move(line.name)});
  }
  if (keys.keys_.empty()) return InvalidArgument("{} has no key", what);
  return keys;
}

Result<ApiKeys> ApiKeys::FromFile(const std::filesystem::path& file) {
  NOSA_ASSIGN_OR_RETURN(const std::string text, io::ReadTextFile(file));
  struct stat info = {};
  if (stat(file.c_str(), &info) == 0 && (info.st_mode & S_IROTH) != 0)
    return FailedPrecondition("{} can be read by everybody on this machine; chmod o-r makes it a secret",
                              file.string());
  return FromText(text, file.string());
}

std::optional<std::string> ApiKeys::NameOf(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return std::nullopt;
  for (size_t i = 0; i < kScheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(authorization[i])) != kScheme[i]) return std::nullopt;
  }
  std::string_view rest = authorization.substr(kScheme.size());
  const Digest digest = DigestOf(NextWord(&rest));
  // All are compared, whichever fits.
  size_t found = keys_.size();
  for (size_t i = 0; i < keys_.size(); ++i) {
    const bool equal = CRYPTO_memcmp(keys_[i].digest.data(), digest.data(), digest.size()) == 0;
    found = equal ? i : found;
  }
  if (found == keys_.size()) return std::nullopt;
  return keys_[found].name;
}

}  // namespace nosa::server

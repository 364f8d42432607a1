// Who may ask, and what a head may be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "server/api_keys.h"
#include "server/request_head.h"

namespace nosa::server {
namespace {

using testing::HasSubstr;

TEST(ApiKeysTest, AreRead) {
  const auto keys = ApiKeys::FromText(
      "# ours\n\n  0123456789abcdef name=alice requests-per-minute=60 max-requests=2\nfedcba9876543210\r\n"
      "another-key-of-alice name=alice\n",
      "keys");
  ASSERT_TRUE(keys.ok()) << keys.status().ToString();
  EXPECT_EQ(keys->NameOf("Bearer 0123456789abcdef"), "alice");
  EXPECT_EQ(keys->NameOf("bearer   0123456789abcdef"), "alice");
  EXPECT_EQ(keys->NameOf("Bearer fedcba9876543210"), "key2");
  EXPECT_EQ(keys->NameOf("Bearer another-key-of-alice"), "alice");
  for (const std::string_view wrong :
       {"", "Bearer", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcde",
        "Bearer 0123456789abcdeg", "Bearer 0123456789abcdef0", "Bearer 0123456789ABCDEF"}) {
    EXPECT_EQ(keys->NameOf(wrong), std::nullopt) << wrong;
  }
  ASSERT_EQ(keys->limits().size(), 1u);
  EXPECT_EQ(keys->limits().at("alice").requests_per_minute, 60);
  EXPECT_EQ(keys->limits().at("alice").max_requests, 2);
}

TEST(ApiKeysTest, MistakesNameTheLineAndNoKey) {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "keys has no key"},
           {"# nothing\n", "keys has no key"},
           {"short\n", "line 1: expected a key of at least 16 characters, found 5"},
           {"0123456789abcdef\n\n0123456789abcdef\n", "line 3: the key is there twice"},
           {"0123456789abcdef nome=x\n", "line 1: a key is followed by"},
           {"0123456789abcdef name=\n", "name= expects"},
           {"0123456789abcdef weight=-1\n", "expected a number above 0, found \"-1\""},
           {"0123456789abcdef max-requests=0.5\n", "at least 1"},
           {"0123456789abcdef name=a weight=2\n0123456789abcdeg name=a weight=3\n", "line 2: the limits of \"a\""},
       }) {
    const auto keys = ApiKeys::FromText(text, "keys");
    ASSERT_FALSE(keys.ok()) << text;
    EXPECT_THAT(std::string(keys.status().message()), HasSubstr(message));
    EXPECT_THAT(std::string(keys.status().message()), testing::Not(HasSubstr("0123456789")));
  }
}

TEST(ApiKeysTest, AFileForEverybodyIsNoSecret) {
  const std::string file = testing::TempDir() + "/keys";
  std::ofstream(file) << "0123456789abcdef\n";
  chmod(file.c_str(), 0644);
  EXPECT_THAT(std::string(ApiKeys::FromFile(file).status().message()), HasSubstr("chmod o-r"));
  chmod(file.c_str(), 0640);
  EXPECT_TRUE(ApiKeys::FromFile(file).ok());
  EXPECT_FALSE(ApiKeys::FromFile(file + "-none").ok());
}

int StatusOf(std::string_view head, RequestHead* parsed, const HttpLimits& limits = {}) {
  *parsed = {};
  const auto error = ParseHead(head, limits, parsed);
  return error ? error->http_status : 200;
}

TEST(RequestHeadTest, TakesWhatIsClear) {
  RequestHead head;
  EXPECT_EQ(StatusOf("POST /v1 HTTP/1.1\r\nHost: LocalHost:80\r\nContent-Length:  5 \r\nRange: bytes=0-\r\n"
                     "accept-encoding: gzip\r\nOrigin: http://a.example:1\r\nX: \xC3\xA4\r\n\r\n",
                     &head),
            200);
  EXPECT_EQ(head.host, "localhost");
  EXPECT_EQ(head.origin, "http://a.example:1");
  EXPECT_EQ(head.content_length, 5u);
  EXPECT_TRUE(head.has_body());
  EXPECT_EQ(head.text,
            "POST /v1 HTTP/1.1\r\nHost: LocalHost:80\r\nContent-Length:  5 \r\nOrigin: http://a.example:1\r\nX: "
            "\xC3\xA4\r\n\r\n");
  EXPECT_EQ(StatusOf("GET / HTTP/1.0\r\n\r\n", &head), 200);
  EXPECT_FALSE(head.has_body());
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", &head), 200);
  EXPECT_TRUE(head.chunked);
}

TEST(RequestHeadTest, RefusesWhatIsNot) {
  RequestHead head;
  const auto with = [](std::string_view line) { return "POST / HTTP/1.1\r\n" + std::string(line) + "\r\n\r\n"; };
  EXPECT_EQ(StatusOf("GET /\r\n\r\n", &head), 400);
  EXPECT_EQ(StatusOf("GET  / HTTP/1.1\r\n\r\n", &head), 400);
  EXPECT_EQ(StatusOf("GET / x HTTP/1.1\r\n\r\n", &head), 400);
  EXPECT_EQ(StatusOf("GET http://x/ HTTP/1.1\r\n\r\n", &head), 400);
  EXPECT_EQ(StatusOf("G@T / HTTP/1.1\r\n\r\n", &head), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/2.0\r\n\r\n", &head), 505);
  EXPECT_EQ(StatusOf("\r\n\r\n", &head), 400);
  EXPECT_EQ(StatusOf(with("Content-Length: 5\r\nContent-Length: 5"), &head), 400);
  EXPECT_EQ(StatusOf(with("Content-Length: 5, 5"), &head), 400);
  EXPECT_EQ(StatusOf(with("Content-Length: -1"), &head), 400);
  EXPECT_EQ(StatusOf(with("Content-Length: 0x10"), &head), 400);
  EXPECT_EQ(StatusOf(with("Content-Length: 99999999999999999999999"), &head), 400);
  EXPECT_EQ(StatusOf(with("Content-Length: 5\r\nTransfer-Encoding: chunked"), &head), 400);
  EXPECT_EQ(StatusOf(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), &head), 501);
  EXPECT_EQ(StatusOf(with("Transfer-Encoding: gzip, chunked"), &head), 501);
  EXPECT_EQ(StatusOf(with("Content-Encoding: gzip"), &head), 415);
  EXPECT_EQ(StatusOf(with("A : b"), &head), 400);
  EXPECT_EQ(StatusOf(with("no colon"), &head), 400);
  EXPECT_EQ(StatusOf(with("A: b\r\n folded"), &head), 400);
  EXPECT_EQ(StatusOf(with("A: b\nC: d"), &head), 400);
  EXPECT_EQ(StatusOf(with(std::string_view("A: \0", 4)), &head), 400);
  EXPECT_EQ(StatusOf(with("Host: a\r\nHost: b"), &head), 400);
  EXPECT_EQ(StatusOf("GET /" + std::string(8000, 'a') + " HTTP/1.1\r\n\r\n", &head), 414);
  EXPECT_EQ(StatusOf(with("A: " + std::string(8000, 'a')), &head), 431);
  EXPECT_EQ(StatusOf(with("Content-Length: 11"), &head, {.body_bytes = 10}), 413);
  EXPECT_EQ(StatusOf(with("Content-Length: 10"), &head, {.body_bytes = 10}), 200);
  std::string many;
  for (int i = 0; i < 99; ++i) many += "A: b\r\n";
  EXPECT_EQ(StatusOf(with(many + "A: b"), &head), 200);
  EXPECT_EQ(StatusOf(with(many + "A: b\r\nA: b"), &head), 431);
}

// Whatever comes, it is refused or what the library gets is one head with one end.
TEST(RequestHeadTest, AnyBytes) {
  std::mt19937 random(7);
  const std::string good = "POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
  constexpr std::string_view kBytes = "\r\n\0: a5,\xFF\t/";
  int taken = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (int change = 0; change < 3; ++change) {
      const size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0: bytes[at] = kBytes[random() % kBytes.size()]; break;
        case 1: bytes.erase(at, random() % 30); break;
        default: bytes.insert(at, 1, kBytes[random() % kBytes.size()]); break;
      }
      if (bytes.empty()) bytes = "x";
    }
    RequestHead head;
    if (ParseHead(bytes, {}, &head)) continue;
    ++taken;
    EXPECT_EQ(head.text.find("\r\n\r\n"), head.text.size() - 4);
    EXPECT_FALSE(head.chunked && head.content_length > 0);
  }
  EXPECT_GT(taken, 100);
}

TEST(RequestHeadTest, Loopback) {
  for (const std::string_view host : {"localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"})
    EXPECT_TRUE(IsLoopback(host)) << host;
  for (const std::string_view host :
       {"", "0.0.0.0", "128.0.0.1", "127.0.0.1.example", "localhost.example", "::", "[::2]", "example"})
    EXPECT_FALSE(IsLoopback(host)) << host;
  EXPECT_EQ(HostOfOrigin("http://localhost:3000"), "localhost");
  EXPECT_EQ(HostOfOrigin("https://[::1]:1"), "[::1]");
  EXPECT_EQ(HostOfOrigin("null"), "");
}

}  // namespace
}  // namespace nosa::server

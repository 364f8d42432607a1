#include "server/load_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace nosa::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using End = LoadAnswer::End;

constexpr std::string_view kStream =
    "data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}]}\n\n"
    ": a comment\n\n"
    "data: {\"choices\":[{\"index\":0,\"text\":\"b\",\"finish_reason\":null}]}\r\n\r\n"
    "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,"
    "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n"
    "data: [DONE]\n\n";

LoadAnswer Read(std::string_view bytes, int status = 200, const Status& transport = {}) {
  LoadAnswerReader reader;
  reader.Take(bytes, 1);
  return reader.Finish(status, transport);
}

TEST(LoadAnswerReaderTest, AStreamCutAnywhereIsTheSame) {
  for (size_t piece = 1; piece <= kStream.size(); ++piece) {
    LoadAnswerReader reader;
    for (size_t at = 0; at < kStream.size(); at += piece)
      reader.Take(kStream.substr(at, piece), static_cast<double>(at / piece));
    const LoadAnswer answer = reader.Finish(200, Status::Ok());
    ASSERT_EQ(answer.end, End::kCompleted) << piece << ": " << answer.error.ToString();
    ASSERT_EQ(answer.pieces.size(), 2u) << piece;
    // The piece in which the line of "b" ends.
    const size_t end = kStream.find("\r\n") + 1;
    ASSERT_EQ(answer.pieces[1], static_cast<double>(end / piece)) << piece;
    ASSERT_EQ(answer.prompt_tokens, 9);
    ASSERT_EQ(answer.cached_tokens, 4);
    ASSERT_EQ(answer.generated_tokens, 3);
  }
}

TEST(LoadAnswerReaderTest, WhatIsNoWholeAnswerFails) {
  const LoadAnswer cut = Read(kStream.substr(0, kStream.size() - 16));
  EXPECT_EQ(cut.end, End::kFailed);
  EXPECT_THAT(std::string(cut.error.message()), HasSubstr("without [DONE], after 2 pieces"));

  const LoadAnswer error = Read("data: {\"error\":{\"message\":\"too late\"}}\n\ndata: [DONE]\n\n");
  EXPECT_EQ(error.end, End::kFailed);
  EXPECT_THAT(std::string(error.error.message()), HasSubstr("too late"));

  EXPECT_EQ(Read("data: {\"choices\n\ndata: [DONE]\n\n").end, End::kFailed);
  const LoadAnswer gone = Read("", 0, Unavailable("the connection failed: reset"));
  EXPECT_EQ(gone.end, End::kFailed);
  EXPECT_THAT(std::string(gone.error.message()), HasSubstr("reset"));
}

TEST(LoadAnswerReaderTest, RefusedIsNotFailed) {
  for (const int status : {429, 503}) {
    const LoadAnswer refused = Read("{\"error\":{\"message\":\"the queue is full\"}}", status);
    EXPECT_EQ(refused.end, End::kRefused);
    EXPECT_THAT(std::string(refused.error.message()), HasSubstr("the queue is full"));
  }
  const LoadAnswer bad = Read("{\"error\":{\"message\":\"no such model\"}}", 404);
  EXPECT_EQ(bad.end, End::kFailed);
  EXPECT_THAT(std::string(bad.error.message()), HasSubstr("found 404: no such model"));
}

TEST(MetricValuesTest, NamesWithLabels) {
  EXPECT_THAT(MetricValues("# HELP a b\n# TYPE a gauge\na 3\nb{s=\"x y\"} 2.5\nc 1e3\nbroken\nd x\ne 7"),
              ElementsAre(Pair("a", 3), Pair("b{s=\"x y\"}", 2.5), Pair("c", 1000), Pair("e", 7)));
  EXPECT_TRUE(MetricValues("").empty());
}

TEST(LoadClientTest, TakesOnlyAddressesItCanReach) {
  const std::chrono::milliseconds patience(100);
  EXPECT_EQ(LoadClient::Create("localhost:80", patience).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(LoadClient::Create("https://localhost:80", patience).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(LoadClient::Create("http://127.0.0.1:1", patience).ok());
}

TEST(LoadClientTest, NobodyListensAndStopped) {
  // Port 1 of the loopback: nobody's.
  auto client = LoadClient::Create("http://127.0.0.1:1", std::chrono::milliseconds(1000));
  ASSERT_TRUE(client.ok());
  EXPECT_EQ((*client)->Get("/metrics").status().code(), StatusCode::kUnavailable);
  const LoadRequest request = {.model = "m", .prompt = {1, 2}, .max_tokens = 1};
  EXPECT_EQ((*client)->Complete(request, nullptr).end, End::kFailed);
  (*client)->Stop();
  EXPECT_EQ((*client)->Complete(request, nullptr).end, End::kStopped);
}

}  // namespace
}  // namespace nosa::server

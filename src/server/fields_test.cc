#include "server/fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/generation_params.h"
#include "server/routes.h"
#include "server/test_util.h"

namespace nosa::server {
namespace {

using testing::HasSubstr;

std::string CodeOf(BodyKind kind, std::string_view body) {
  const auto error = CheckFields(kind, Json(body));
  if (!error) return "";
  EXPECT_EQ(error->http_status, 400);
  EXPECT_EQ(error->type, "invalid_request_error");
  return error->param + ": " + error->code;
}

std::string Chat(std::string_view more) {
  return R"({"model":"m","messages":[{"role":"user","content":"a"}])" + std::string(more.empty() ? "" : ",") +
         std::string(more) + "}";
}

TEST(FieldsTest, BodiesAreCheckedAgainstTheTable) {
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat("")), "");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("temperature":null,"n":1,"stop":"x")")), "");
  EXPECT_EQ(CodeOf(BodyKind::kChat, "[]"), ": invalid_type");
  EXPECT_EQ(CodeOf(BodyKind::kChat, "{}"), "model: missing_required_parameter");
  EXPECT_EQ(CodeOf(BodyKind::kChat, R"({"model":"m"})"), "messages: missing_required_parameter");
  EXPECT_EQ(CodeOf(BodyKind::kChat, R"({"model":"m","messages":null})"), "messages: missing_required_parameter");
  EXPECT_EQ(CodeOf(BodyKind::kChat, R"({"model":"m","messages":[]})"), "messages: array_below_min_length");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("temperature":"hot")")), "temperature: invalid_type");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("temperature":2.0)")), "");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("temperature":2.001)")), "temperature: decimal_above_max_value");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("temperature":-0.1)")), "temperature: decimal_below_min_value");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("n":0)")), "n: integer_below_min_value");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("n":1.5)")), "n: invalid_type");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("n":2.0)")), "");  // an integer that was written as a fraction
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("n":true)")), "n: invalid_type");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("seed":18446744073709551615)")), "seed: invalid_value");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("seed":-5)")), "");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("stop":["1","2","3","4","5"])")), "stop: array_above_max_length");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("stop":"longer than four bytes")")), "");
  EXPECT_EQ(CodeOf(BodyKind::kChat, Chat(R"("frequency":1)")), "frequency: unknown_parameter");
  EXPECT_EQ(CodeOf(BodyKind::kCompletion, R"({"model":"m","prompt":"a","messages":[]})"),
            "messages: unknown_parameter");
  EXPECT_EQ(CodeOf(BodyKind::kCompletion, R"({"model":"m","prompt":"a","suffix":""})"), "");
  EXPECT_EQ(CodeOf(BodyKind::kCompletion, R"({"model":"m","prompt":"a","suffix":"b"})"),
            "suffix: string_above_max_length");
}

TEST(FieldsTest, MessagesHaveBothSides) {
  const auto error = CheckFields(BodyKind::kChat, Json(Chat(R"("temperature":3)")));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message,
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.");
  const auto type = CheckFields(BodyKind::kChat, Json(Chat(R"("stop":7)")));
  ASSERT_TRUE(type);
  EXPECT_EQ(type->message, "Invalid type for 'stop': expected a string or an array, but got an integer instead.");
  // A name of a megabyte is not sent back.
  const auto name = CheckFields(BodyKind::kChat, Json("{\"" + std::string(1 << 20, 'x') + "\":1}"));
  ASSERT_TRUE(name);
  EXPECT_LT(name->message.size(), 200u);
}

// What the table tells people to be the default is what parsing takes.
TEST(FieldsTest, TheDefaultsOfTheTableAreThoseOfTheParser) {
  for (const BodyKind kind : {BodyKind::kChat, BodyKind::kCompletion}) {
    io::OrderedJson bare = Json(kind == BodyKind::kChat ? Chat("") : R"({"model":"m","prompt":"a"})");
    io::OrderedJson full = bare;
    int told = 0;
    for (const Field& field : Fields()) {
      const auto value = io::ParseOrderedJson(field.fallback, "default");
      if (!field.In(kind) || !value.ok()) continue;
      full[std::string(field.name)] = *value;
      ++told;
    }
    EXPECT_GT(told, 8);
    ASSERT_FALSE(CheckFields(kind, full));
    GrammarCache grammars;
    GenerationParams a, b;
    ASSERT_FALSE(ParseGenerationParams(kind, bare, &grammars, &a));
    ASSERT_FALSE(ParseGenerationParams(kind, full, &grammars, &b));
    EXPECT_EQ(a.request.sampling.temperature, b.request.sampling.temperature);
    EXPECT_EQ(a.request.sampling.top_p, b.request.sampling.top_p);
    EXPECT_EQ(a.request.sampling.top_k, b.request.sampling.top_k);
    EXPECT_EQ(a.request.sampling.min_p, b.request.sampling.min_p);
    EXPECT_EQ(a.request.sampling.repetition_penalty, b.request.sampling.repetition_penalty);
    EXPECT_EQ(a.request.sampling.presence_penalty, b.request.sampling.presence_penalty);
    EXPECT_EQ(a.request.sampling.frequency_penalty, b.request.sampling.frequency_penalty);
    EXPECT_EQ(a.request.ignore_eos, b.request.ignore_eos);
    EXPECT_EQ(a.choices, b.choices);
    EXPECT_EQ(a.stream, b.stream);
    EXPECT_EQ(a.logprobs, b.logprobs);
  }
}

TEST(RoutesTest, PathsAreComparedWhole) {
  EXPECT_NE(FindRoute("GET", "/v1/models").route, nullptr);
  EXPECT_EQ(FindRoute("GET", "/v1/models/a/b").tail, "a/b");
  for (const std::string_view path :
       {"/v1/models/", "//v1/models", "/v1/../v1/models", "/V1/models", "/v1/model", ""}) {
    EXPECT_EQ(FindRoute("GET", path).route, nullptr) << path;
    EXPECT_EQ(FindRoute("GET", path).allowed, "") << path;
  }
  EXPECT_EQ(FindRoute("DELETE", "/v1/models").route, nullptr);
  EXPECT_EQ(FindRoute("DELETE", "/v1/models").allowed, "GET, HEAD");
  EXPECT_EQ(FindRoute("GET", "/v1/completions").allowed, "POST");
}

TEST(ApiErrorTest, IsOpenAisObject) {
  EXPECT_EQ(io::DumpJson(ToJson(BadField("n", "Bad."))),
            R"({"error":{"message":"Bad.","type":"invalid_request_error","param":"n","code":null}})");
  EXPECT_EQ(ErrorOf(Internal("x")).http_status, 500);
  EXPECT_EQ(ErrorOf(InvalidArgument("x")).http_status, 400);
  EXPECT_EQ(ErrorOf(Unavailable("x")).http_status, 503);
  EXPECT_EQ(ErrorOf(DeadlineExceeded("x")).http_status, 504);
  engine::Refusal refusal = {Unavailable("full"), engine::Refusal::Cause::kRateLimit, std::chrono::milliseconds(1200)};
  HttpReply reply = ToReply(ErrorOf(refusal));
  EXPECT_EQ(reply.status, 429);
  EXPECT_THAT(reply.headers, testing::Contains(std::pair<std::string, std::string>("Retry-After", "2")));
  refusal = {Unavailable("full"), engine::Refusal::Cause::kQueueFull, std::nullopt};
  EXPECT_EQ(ErrorOf(refusal).http_status, 503);
  EXPECT_EQ(ErrorOf(refusal).retry_after, 1);
  refusal = {ResourceExhausted("too large"), engine::Refusal::Cause::kTooLarge, std::nullopt};
  EXPECT_EQ(ErrorOf(refusal).http_status, 400);
}

}  // namespace
}  // namespace nosa::server

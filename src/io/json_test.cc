#include "io/json.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "io/json_strict.h"
#include "io/test_util.h"

namespace nosa::io {
namespace {

std::string Nested(int levels) {
  return std::string(static_cast<size_t>(levels), '[') + std::string(static_cast<size_t>(levels), ']');
}

TEST(ParseJson, ReadsWhatJsonIs) {
  EXPECT_EQ(*ParseJson("{\"a\": [1, -2.5, true, null, \"\\u00e9\"]}", "x"),
            Json::parse("{\"a\":[1,-2.5,true,null,\"é\"]}"));
}

TEST(ParseJson, SaysWhereItStopped) {
  EXPECT_THAT(ParseJson("{\"a\":\n 1,}", "config.json").status(),
              Fails(StatusCode::kInvalidArgument, "config.json is not valid JSON: parse error at line 2, column 4"));
  for (const char* bad : {"", " ", "{", "}", "[1", "nul", "\"a", "\"\\", "{\"a\" 1}", "1 2", "'a'", "\xff", "\"\xff\"",
                          "\"\xed\xa0\x80\"", "[1,]", "01", "\"a\nb\"", "/* a */ 1", "]]]]"}) {
    EXPECT_THAT(ParseJson(bad, "x").status(), Fails(StatusCode::kInvalidArgument, "x is not valid JSON: ")) << bad;
  }
}

TEST(ParseJson, HugeNumbersAreErrorsOrRounded) {
  EXPECT_THAT(ParseJson("[1e999]", "x").status(),
              Fails(StatusCode::kInvalidArgument, "number overflow parsing '1e999'"));
  EXPECT_THAT(ParseJson("-1e400", "x").status(), Fails(StatusCode::kInvalidArgument, "number overflow"));
  EXPECT_TRUE(ParseJson("123456789012345678901234567890", "x")->is_number_float());
  EXPECT_EQ(ParseJson("1e-999", "x")->get<double>(), 0.0);
}

TEST(ParseJson, BoundsNesting) {
  EXPECT_TRUE(ParseJson(Nested(255), "x").ok());
  EXPECT_TRUE(ParseJson(Nested(256), "x").ok());
  EXPECT_THAT(ParseJson(Nested(257), "x").status(),
              Fails(StatusCode::kInvalidArgument, "x is nested more than 256 levels deep at byte 256"));
  EXPECT_FALSE(ParseJson(std::string(10'000'000, '['), "x").ok());
  EXPECT_FALSE(ParseJson(std::string(10'000'000, '{'), "x").ok());
  // Brackets inside strings, also behind escaped quotes, do not nest; siblings do not either.
  EXPECT_TRUE(ParseJson("\"\\\"" + std::string(300, '[') + "\\\\\"", "x").ok());
  std::string siblings = "[";
  for (int i = 0; i < 300; ++i) siblings += "{},[],";
  EXPECT_TRUE(ParseJson(siblings + "0]", "x").ok());
}

TEST(ParseJsonStrict, RefusesAKeyThatOccursTwice) {
  EXPECT_TRUE(
      internal::ParseJsonStrict("{\"a\": {\"a\": 1}, \"b\": {\"a\": 1}, \"c\": [{\"a\": 1}, {\"a\": 2}]}", "x").ok());
  EXPECT_THAT(internal::ParseJsonStrict("[{\"b\": 0, \"a\": {}, \"a\": 1}]", "x").status(),
              Fails(StatusCode::kInvalidArgument, "x has the key \"a\" twice"));
  EXPECT_THAT(internal::ParseJsonStrict("{\"a\": 1, \"\\u0061\": 2", "x").status(),
              Fails(StatusCode::kInvalidArgument, "x is not valid JSON"));
}

TEST(ReadJsonFile, NamesTheFile) {
  TempDir dir;
  EXPECT_OK(WriteFileAtomically(dir / "a.json", Bytes("[1]")));
  EXPECT_EQ(*ReadJsonFile(dir / "a.json"), Json({1}));
  EXPECT_OK(WriteFileAtomically(dir / "a.json", Bytes("[")));
  EXPECT_THAT(ReadJsonFile(dir / "a.json").status(), Fails(StatusCode::kInvalidArgument, (dir / "a.json").string()));
  EXPECT_THAT(ReadJsonFile(dir / "b.json").status(), Fails(StatusCode::kNotFound, (dir / "b.json").string()));
}

TEST(DumpJson, IsOneLineAndNeverThrows) {
  EXPECT_EQ(DumpJson(Json({{"b", "x\ny"}, {"a", 1}})), "{\"a\":1,\"b\":\"x\\ny\"}");
  EXPECT_EQ(DumpJson(OrderedJson({{"b", 2}, {"a", 1}})), "{\"b\":2,\"a\":1}");
  EXPECT_EQ(DumpJson(Json("a\xff")), "\"a\xef\xbf\xbd\"");
}

TEST(Fields, FallBackWhenAbsentOrNull) {
  const Json json = *ParseJson(R"({"n": null})", "x");
  for (const char* key : {"n", "absent"}) {
    EXPECT_EQ(*GetInt(json, key, -7), -7);
    EXPECT_EQ(*GetNumber(json, key, 0.5), 0.5);
    EXPECT_EQ(*GetBool(json, key, true), true);
    EXPECT_EQ(*GetString(json, key, "f"), "f");
  }
}

TEST(Fields, ReadTheirType) {
  const Json json = *ParseJson(R"({"i": -3, "u": 9223372036854775807, "d": 2.5, "b": false, "s": "t"})", "x");
  EXPECT_EQ(*GetInt(json, "i", 0), -3);
  EXPECT_EQ(*GetInt(json, "u", 0), INT64_MAX);
  EXPECT_EQ(*GetNumber(json, "d", 0), 2.5);
  EXPECT_EQ(*GetNumber(json, "i", 0), -3.0);
  EXPECT_EQ(*GetBool(json, "b", true), false);
  EXPECT_EQ(*GetString(json, "s", ""), "t");
}

// The library's own reading of ordered JSON is the twin.
TEST(ParseOrderedJson, ReadsAsTheLibraryDoes) {
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += fmt::format("\"k{}\":{{\"n\":[{}]}},", i % 60, i);
  many += "\"last\":null}";
  for (const std::string& text :
       {std::string(R"({"b":1,"a":[],"b":{"c":[1,-2,3.5,"\u00e9",true,null,18446744073709551615]},"":{}})"), many,
        std::string("[[],{},[{\"a\":{}}]]"), std::string("7"), std::string(" \"x\" "), std::string("-1e400"),
        std::string("{\"a\":1,}"), std::string("{\"a\""), std::string("[1]2"), std::string("")}) {
    const Result<OrderedJson> json = ParseOrderedJson(text, "x");
    const OrderedJson twin = OrderedJson::parse(text, nullptr, /*allow_exceptions=*/false);
    ASSERT_EQ(json.ok(), !twin.is_discarded()) << text;
    if (!json.ok()) {
      EXPECT_EQ(json.status().message(), ParseJson(text, "x").status().message());
      continue;
    }
    EXPECT_EQ(*json, twin);
    EXPECT_EQ(DumpJson(*json), DumpJson(twin)) << "the order of keys";
  }
}

// With a comparison of each key with all before it, this takes minutes.
TEST(ParseOrderedJson, HundredsOfThousandsOfKeysAreNoWork) {
  std::string text = "{";
  for (int i = 0; i < 400'000; ++i) text += fmt::format("\"{}\":{},", i, i);
  text += "\"0\":-1}";
  const Stopwatch watch;
  const Result<OrderedJson> json = ParseOrderedJson(text, "x");
  EXPECT_LT(watch.Seconds(), 20);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->size(), 400'000u);
  EXPECT_EQ(json->begin().value(), -1);
  EXPECT_EQ(std::prev(json->end()).key(), "399999");
}

TEST(Fields, NameWhatWasExpectedAndFound) {
  const Json json =
      *ParseJson(R"({"i": 3, "u": 9223372036854775808, "d": 2.0, "b": true, "s": "t", "o": {}, "a": [1]})", "x");
  const StatusCode bad = StatusCode::kInvalidArgument;
  EXPECT_THAT(GetInt(json, "d", 0).status(), Fails(bad, "field \"d\": expected an integer, found 2.0"));
  EXPECT_THAT(GetInt(json, "b", 0).status(), Fails(bad, "expected an integer, found true"));
  EXPECT_THAT(GetInt(json, "u", 0).status(),
              Fails(bad, "field \"u\": expected an integer up to 9223372036854775807, found 9223372036854775808"));
  EXPECT_THAT(GetNumber(json, "s", 0).status(), Fails(bad, "field \"s\": expected a number, found \"t\""));
  EXPECT_THAT(GetNumber(json, "b", 0).status(), Fails(bad, "expected a number, found true"));
  EXPECT_THAT(GetBool(json, "i", false).status(), Fails(bad, "field \"i\": expected true or false, found 3"));
  EXPECT_THAT(GetString(json, "o", "").status(), Fails(bad, "field \"o\": expected a string, found an object"));
  EXPECT_THAT(GetString(Json({1, 2}), "k", "").status(),
              Fails(bad, "expected an object with the field \"k\", found an array"));
  EXPECT_THAT(GetBool(Json({{"k", std::string(100, 'x')}}), "k", false).status(), Fails(bad, "xxx..."));
}

}  // namespace
}  // namespace nosa::io

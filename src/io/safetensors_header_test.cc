#include <fmt/ranges.h>

#include "io/safetensors.h"
#include "io/safetensors_format.h"
#include "io/test_util.h"

namespace nosa::io {
namespace {

// A file of this header, then `data` zero bytes.
std::vector<std::byte> FileOf(std::string_view header, size_t data) {
  std::vector<std::byte> file;
  for (int i = 0; i < 8; ++i) file.push_back(static_cast<std::byte>(header.size() >> (8 * i)));
  file.insert(file.end(), Bytes(header).begin(), Bytes(header).end());
  file.resize(file.size() + data);
  return file;
}

Result<std::map<std::string, TensorEntry>> Parse(ConstBytes file) {
  uint64_t begin = 0;
  return ParseSafetensorsHeader(file, &begin);
}

constexpr std::string_view kGood =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[0,7],"data_offsets":[24,24]},"c":{"dtype":"I64","shape":[],"data_offsets":[24,32]},)"
    R"("d":{"dtype":"U8","shape":[1,1,1,1,2],"data_offsets":[32,34]}}  )";

TEST(SafetensorsHeader, ReadsNamesShapesAndPlaces) {
  uint64_t begin = 0;
  const auto tensors = *ParseSafetensorsHeader(FileOf(kGood, 34), &begin);
  EXPECT_EQ(begin, 8 + kGood.size());
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors.at("a").dtype, DType::kF32);
  EXPECT_EQ(tensors.at("a").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tensors.at("a").end, 24u);
  EXPECT_EQ(tensors.at("b").shape, (std::vector<int64_t>{0, 7}));
  EXPECT_TRUE(tensors.at("c").shape.empty());
  EXPECT_EQ(tensors.at("d").begin, 32u);
  EXPECT_TRUE(Parse(FileOf("{}", 0))->empty());
}

TEST(SafetensorsHeader, KnowsEveryDtypeItCanHold) {
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI64, DType::kI32, DType::kU8, DType::kBool}) {
    const auto name = internal::FormatName(dtype);
    EXPECT_EQ(internal::DTypeOfFormatName(name), dtype);
    const size_t bytes = 3 * DTypeBytes(dtype);
    const auto header = fmt::format(R"({{"t":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", name, bytes);
    EXPECT_EQ(Parse(FileOf(header, bytes))->at("t").dtype, dtype);
  }
}

TEST(SafetensorsHeader, RefusesWrongSizes) {
  const std::vector<std::byte> good = FileOf(kGood, 34);
  EXPECT_THAT(Parse({}).status(), Fails(StatusCode::kDataLoss, "expected at least 8 bytes, the file has 0"));
  EXPECT_THAT(Parse(ConstBytes(good).first(7)).status(), Fails(StatusCode::kDataLoss, "the file has 7"));
  EXPECT_THAT(Parse(ConstBytes(good).first(8)).status(),
              Fails(StatusCode::kDataLoss,
                    fmt::format("the header claims {} bytes, the file has 0 after its size", kGood.size())));
  EXPECT_THAT(Parse(ConstBytes(good).first(8 + kGood.size() - 1)).status(),
              Fails(StatusCode::kDataLoss, fmt::format("the header claims {} bytes, the file has {} after its size",
                                                       kGood.size(), kGood.size() - 1)));
  EXPECT_THAT(Parse(std::vector<std::byte>(8)).status(), Fails(StatusCode::kDataLoss, "does not begin with \"{\""));
  EXPECT_THAT(Parse(std::vector<std::byte>(100, std::byte{0xff})).status(),
              Fails(StatusCode::kDataLoss, "the header claims 18446744073709551615 bytes, the limit is 100000000"));
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(Parse(ConstBytes(good).first(size)).ok()) << size;
}

struct BadHeader {
  std::string_view header;
  std::string_view says;
};

// Each with 8 bytes of data behind it.
constexpr BadHeader kBad[] = {
    {"[]", "the header does not begin with \"{\""},
    {" {}", "the header does not begin with \"{\""},
    {"{", "the header is not valid JSON: parse error at line 1, column 2"},
    {"{} x", "the header is not valid JSON"},
    {R"({"t":1})", "tensor \"t\": expected an object, found number"},
    {R"({"t":{}})", "tensor \"t\" has no dtype"},
    {R"({"t":{"dtype":3}})", "tensor \"t\" has no dtype"},
    {R"({"t":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})",
     "tensor \"t\": expected the dtype F32, F16, BF16, F64, I64, I32, U8 or BOOL, found \"F8_E4M3\""},
    {R"({"t":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}})", "found \"f32\""},
    {R"({"t":{"dtype":"U8","data_offsets":[0,8]}})", "tensor \"t\" has no list shape"},
    {R"({"t":{"dtype":"U8","shape":8,"data_offsets":[0,8]}})", "tensor \"t\" has no list shape"},
    {R"({"t":{"dtype":"U8","shape":[8]}})", "tensor \"t\" has no list data_offsets"},
    {R"({"t":{"dtype":"U8","shape":[8],"data_offsets":[0]}})", "expected 2 data_offsets, found 1"},
    {R"({"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8,8]}})", "expected 2 data_offsets, found 3"},
    {R"({"t":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}})",
     "expected integers from 0 to 2^63 - 1 in shape, found -8"},
    {R"({"t":{"dtype":"U8","shape":[8.0],"data_offsets":[0,8]}})", "in shape, found 8.0"},
    {R"({"t":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,8]}})",
     "in shape, found 9223372036854775808"},
    {R"({"t":{"dtype":"U8","shape":[8],"data_offsets":["0",8]}})", "in data_offsets, found \"0\""},
    {R"({"t":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})",
     "tensor \"t\" lies at bytes 0 to 9, the data part has 8"},
    {R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[8,0]}})", "tensor \"t\" lies at bytes 8 to 0"},
    {R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})",
     "tensor \"t\": F32 [3] takes 12 bytes, its data_offsets span 8"},
    {R"({"t":{"dtype":"F32","shape":[],"data_offsets":[0,8]}})", "tensor \"t\": F32 [] takes 4 bytes"},
    {R"({"t":{"dtype":"U8","shape":[4294967296,4294967296,8],"data_offsets":[0,8]}})", "takes more than 2^63 bytes"},
    {R"({"t":{"dtype":"F64","shape":[4611686018427387905],"data_offsets":[0,8]}})", "takes more than 2^63 bytes"},
    {R"({"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"z":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[8,8]}})",
     "tensor \"z\": U8 [0, 4294967296, 4294967296] takes more than 2^63 bytes, its data_offsets span 0"},
    {R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
     "tensor \"b\" begins at byte 4, where \"a\" overlaps it up to byte 5"},
    {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
     "overlaps"},
    {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
     "bytes 3 to 4 of the data part, before \"b\", belong to no tensor"},
    {R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}})", "the tensors end at byte 7, the data part has 8"},
    {"{}", "the tensors end at byte 0, the data part has 8"},
    {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
     "the header has the key \"a\" twice"},
    {R"({"__metadata__":[]})", "__metadata__: expected an object, found array"},
    {R"({"__metadata__":{"k":1}})", "__metadata__ \"k\": expected a string, found number"},
};

TEST(SafetensorsHeader, RefusesWhatTheFormatForbids) {
  for (const auto& [header, says] : kBad) {
    EXPECT_THAT(Parse(FileOf(header, 8)).status(), Fails(StatusCode::kDataLoss, says)) << header;
  }
}

TEST(SafetensorsHeader, MessagesStayShort) {
  const std::string header =
      fmt::format(R"({{"{}":{{"dtype":"U8","shape":["{}"]}}}})", std::string(9000, 'n'), std::string(9000, 'v'));
  const Status status = Parse(FileOf(header, 0)).status();
  EXPECT_THAT(status, Fails(StatusCode::kDataLoss, "nnn..."));
  EXPECT_LT(status.message().size(), 600u);
}

TEST(SafetensorsHeader, BoundsNesting) {
  const std::string deep = "{\"a\":" + std::string(100000, '[');
  EXPECT_THAT(Parse(FileOf(deep, 0)).status(),
              Fails(StatusCode::kDataLoss, "the header is nested more than 256 levels deep"));
}

// What the fuzz target checks, for builds without a fuzzer: damage is refused or leaves a sound header.
TEST(SafetensorsHeader, SurvivesDamage) {
  const std::vector<std::byte> good = FileOf(kGood, 34);
  constexpr std::string_view kTokens = "{}[]\",:0123456789-eE.\\ntF";
  int accepted = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    const Philox rng(42, i);
    std::vector<std::byte> file = good;
    const uint32_t edits = 1 + rng.Block(0)[0] % 4;
    for (uint32_t e = 1; e <= edits; ++e) {
      const auto [kind, where, value, length] = rng.Block(e);
      const size_t at = where % file.size();
      const auto place = file.begin() + static_cast<ptrdiff_t>(at);
      switch (kind % 5) {
        case 0: file[at] = static_cast<std::byte>(value); break;
        case 1: file[at] = static_cast<std::byte>(kTokens[value % kTokens.size()]); break;
        case 2: file[at] ^= std::byte{1} << (value % 8); break;
        case 3: file.erase(place, place + std::min<ptrdiff_t>(1 + length % 16, file.end() - place)); break;
        case 4: file.insert(place, 1 + length % 16, static_cast<std::byte>(kTokens[value % kTokens.size()])); break;
      }
      if (file.empty()) break;
    }
    file.shrink_to_fit();  // so that the address sanitizer sees a read behind the end
    uint64_t begin = 0;
    const auto tensors = ParseSafetensorsHeader(file, &begin);
    if (!tensors.ok()) {
      EXPECT_EQ(tensors.status().code(), StatusCode::kDataLoss);
      continue;
    }
    ++accepted;
    for (const auto& [name, entry] : *tensors) {
      EXPECT_LE(entry.begin, entry.end);
      EXPECT_LE(begin + entry.end, file.size());
    }
  }
  // Bytes of the data part and letters of names may change freely: some must pass, most must not.
  EXPECT_GT(accepted, 20);
  EXPECT_LT(accepted, 1500);
}

}  // namespace
}  // namespace nosa::io

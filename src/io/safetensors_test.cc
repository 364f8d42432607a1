#include "io/safetensors.h"

#include "io/json.h"
#include "io/nearest_name.h"
#include "io/test_util.h"
#include "tensor/buffer.h"

namespace nosa::io {
namespace {

// A buffer of `shape` that holds random bytes.
Buffer Filled(DType dtype, const Shape& shape, uint64_t seed) {
  const auto bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
  Buffer buffer = Buffer::Host(bytes);
  const std::vector<std::byte> data = RandomBytes(bytes, seed);
  std::copy(data.begin(), data.end(), buffer.data());
  return buffer;
}

void ExpectSame(const ConstTensorView& a, const ConstTensorView& b) {
  EXPECT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  const auto bytes = static_cast<size_t>(a.shape().elements()) * DTypeBytes(a.dtype());
  EXPECT_TRUE(std::equal(a.bytes(), a.bytes() + bytes, b.bytes()));
}

// One f32 tensor of `value` in a file of its own.
void WriteOne(const std::filesystem::path& path, const std::string& name, float value) {
  const Buffer buffer = Buffer::Host(4);
  *buffer.as<float>() = value;
  SafetensorsWriter writer;
  writer.Add(name, buffer.View(DType::kF32, {1}));
  writer.AddMetadata("of", name);
  EXPECT_OK(writer.Write(path));
}

void WriteText(const std::filesystem::path& path, std::string_view text) {
  EXPECT_OK(WriteFileAtomically(path, Bytes(text)));
}

// Size, header and `data` zeros, by hand.
void WriteRaw(const std::filesystem::path& path, std::string_view header, size_t data) {
  std::string text;
  for (int i = 0; i < 8; ++i) text.push_back(static_cast<char>(header.size() >> (8 * i)));
  WriteText(path, text + std::string(header) + std::string(data, '\0'));
}

TEST(Safetensors, GivesBackWhatTheWriterWrote) {
  TempDir dir;
  const std::vector<std::pair<DType, Shape>> kinds = {
      {DType::kU8, {3}},           {DType::kBool, {1, 1}}, {DType::kF32, {5, 7}},
      {DType::kBF16, {2, 3, 5}},   {DType::kF16, {1}},     {DType::kF64, {3}},
      {DType::kI64, {1, 2, 3, 4}}, {DType::kI32, {9}},     {DType::kF32, {0, 4}}};
  std::vector<Buffer> buffers;
  SafetensorsWriter writer;
  std::vector<std::string> names;
  for (size_t i = 0; i < kinds.size(); ++i) {
    buffers.push_back(Filled(kinds[i].first, kinds[i].second, i));
    names.push_back(fmt::format("t{}", i));
    writer.Add(names.back(), buffers.back().View(kinds[i].first, kinds[i].second));
  }
  writer.AddMetadata("format", "pt");
  EXPECT_OK(writer.Write(dir / "x.safetensors"));
  EXPECT_THAT(dir.Names(), testing::ElementsAre("x.safetensors"));

  const auto file = *Safetensors::OpenFile(dir / "x.safetensors");
  EXPECT_EQ(file->Names(), names);
  EXPECT_THAT(file->metadata(), testing::ElementsAre(testing::Pair("format", "pt")));
  uint64_t bytes = 0;
  for (size_t i = 0; i < kinds.size(); ++i) {
    const ConstTensorView tensor = *file->Get(names[i]);
    ExpectSame(tensor, buffers[i].View(kinds[i].first, kinds[i].second));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes()) % DTypeBytes(kinds[i].first), 0u);
    EXPECT_EQ(file->FileOf(names[i]), "x.safetensors");
    bytes += buffers[i].size();
  }
  EXPECT_EQ(file->data_bytes(), bytes);
}

TEST(SafetensorsWriter, BeginsTheDataAtAMultipleOf64) {
  TempDir dir;
  for (size_t length = 0; length < 65; ++length) {
    SafetensorsWriter writer;
    writer.AddMetadata("k", std::string(length, 'v'));
    EXPECT_OK(writer.Write(dir / "x"));
    uint64_t data_begin = 0;
    EXPECT_OK(ParseSafetensorsHeader(MappedFile::Open(dir / "x")->bytes(), &data_begin).status());
    EXPECT_EQ(data_begin % 64, 0u) << length;
  }
}

TEST(Safetensors, HoldsNothingAtAll) {
  TempDir dir;
  EXPECT_OK(SafetensorsWriter().Write(dir / "x.safetensors"));
  const auto file = *Safetensors::OpenFile(dir / "x.safetensors");
  EXPECT_TRUE(file->Names().empty());
  EXPECT_EQ(file->data_bytes(), 0u);
  EXPECT_THAT(file->Get("a").status(), Fails(StatusCode::kNotFound, "x.safetensors, which holds none"));
}

TEST(Safetensors, AMissingNameBringsTheNearest) {
  TempDir dir;
  WriteOne(dir / "model.safetensors", "model.layers.0.self_attn.k_proj.weight", 1);
  const auto file = *Safetensors::OpenDirectory(dir.path());
  EXPECT_TRUE(file->Has("model.layers.0.self_attn.k_proj.weight"));
  EXPECT_FALSE(file->Has("model.layers.0.self_attn.k_proj"));
  EXPECT_EQ(file->FileOf("model.layers.0.self_attn.k_proj"), "");
  EXPECT_THAT(file->Get("model.layers.0.self_attn.kproj.weight").status(),
              Fails(StatusCode::kNotFound, "no tensor \"model.layers.0.self_attn.kproj.weight\" in " +
                                               (dir / "model.safetensors").string() +
                                               "; the nearest name is \"model.layers.0.self_attn.k_proj.weight\""));
}

TEST(NearestName, CountsEdits) {
  const std::vector<std::string> names = {"", "abc", "abd", "kitten", std::string(1000, 'x')};
  EXPECT_EQ(internal::NearestName("abd", names), "abd");
  EXPECT_EQ(internal::NearestName("abe", names), "abc");
  EXPECT_EQ(internal::NearestName("sitting", names), "kitten");
  EXPECT_EQ(internal::NearestName("", names), "");
  EXPECT_EQ(internal::NearestName(std::string(900, 'x'), names), names[4]);
  EXPECT_EQ(internal::NearestName("abc", {}), "");
}

TEST(Safetensors, ViewsHaveOneToFourDimensions) {
  TempDir dir;
  WriteRaw(dir / "x",
           R"({"five":{"dtype":"U8","shape":[1,1,1,1,2],"data_offsets":[1,3]},)"
           R"("scalar":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
           3);
  const auto file = *Safetensors::OpenFile(dir / "x");
  EXPECT_EQ(file->Get("scalar")->shape(), Shape({1}));
  EXPECT_THAT(file->Get("five").status(),
              Fails(StatusCode::kUnimplemented, "tensor \"five\" in x has 5 dimensions, at most 4 can be read"));
}

TEST(Safetensors, RefusesDataThatPointersCannotRead) {
  TempDir dir;
  std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  header.resize(RoundUp(header.size(), 8), ' ');
  WriteRaw(dir / "x", header, 5);
  const auto file = *Safetensors::OpenFile(dir / "x");
  EXPECT_OK(file->Get("a").status());
  EXPECT_THAT(file->Get("b").status(),
              Fails(StatusCode::kUnimplemented,
                    fmt::format("tensor \"b\" begins at byte {} of x, expected a multiple of 4 for F32",
                                8 + header.size() + 1)));
}

TEST(Safetensors, NamesTheFileThatIsMissingOrDamaged) {
  TempDir dir;
  EXPECT_THAT(Safetensors::OpenFile(dir / "x").status(),
              Fails(StatusCode::kNotFound, "cannot open " + (dir / "x").string()));
  WriteText(dir / "x", "abc");
  EXPECT_THAT(Safetensors::OpenFile(dir / "x").status(),
              Fails(StatusCode::kDataLoss, (dir / "x").string() + ": expected at least 8 bytes, the file has 3"));
  WriteText(dir / "x", "");
  EXPECT_THAT(Safetensors::OpenFile(dir / "x").status(), Fails(StatusCode::kDataLoss, "the file has 0"));
  EXPECT_THAT(Safetensors::OpenDirectory(dir.path()).status(),
              Fails(StatusCode::kNotFound,
                    "expected model.safetensors or model.safetensors.index.json in " + dir.path().string()));
  EXPECT_THAT(Safetensors::OpenDirectory(dir / "missing").status(), Fails(StatusCode::kNotFound, "is not a directory"));
}

class Sharded : public testing::Test {
 protected:
  void SetUp() override {
    WriteOne(dir_ / "s1.safetensors", "a", 1);
    WriteOne(dir_ / "s2.safetensors", "b", 2);
  }
  Result<std::shared_ptr<const Safetensors>> Open(std::string_view weight_map) {
    WriteText(dir_ / "model.safetensors.index.json", fmt::format(R"({{"metadata":{{}},"weight_map":{}}})", weight_map));
    return Safetensors::OpenDirectory(dir_.path());
  }
  TempDir dir_;
};

TEST_F(Sharded, ReadsEachTensorFromItsShard) {
  const auto checkpoint = *Open(R"({"b":"s2.safetensors","a":"s1.safetensors"})");
  EXPECT_EQ(checkpoint->Names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(*checkpoint->Get("a")->row<float>(0), 1.0f);
  EXPECT_EQ(*checkpoint->Get("b")->row<float>(0), 2.0f);
  EXPECT_EQ(checkpoint->FileOf("b"), "s2.safetensors");
  EXPECT_EQ(checkpoint->metadata().at("of"), "a");
  EXPECT_EQ(checkpoint->data_bytes(), 8u);
  EXPECT_THAT(checkpoint->Get("c").status(), Fails(StatusCode::kNotFound, "in " + dir_.path().string()));
}

TEST_F(Sharded, ASingleFileComesFirst) {
  WriteOne(dir_ / "model.safetensors", "whole", 3);
  EXPECT_EQ((*Open("{}"))->Names(), std::vector<std::string>{"whole"});
}

TEST_F(Sharded, RefusesNamesThatLeaveTheDirectory) {
  std::filesystem::create_directory(dir_ / "sub");
  WriteOne(dir_ / "sub" / "s3.safetensors", "a", 3);
  for (const std::string& name :
       {std::string("../s1.safetensors"), std::string("/etc/passwd"), std::string("sub/s3.safetensors"),
        std::string("sub/../s1.safetensors"), std::string(".."), std::string("."), std::string(),
        std::string("s1.safetensors\0x", 16)}) {
    EXPECT_THAT(Open(DumpJson(Json({{"a", name}}))).status(),
                Fails(StatusCode::kDataLoss,
                      "expected a file name without directories for tensor \"a\", found " + DumpJson(Json(name))));
  }
}

TEST_F(Sharded, RefusesAnIndexThatDoesNotFit) {
  EXPECT_THAT(Open(R"({"a":"s9.safetensors"})").status(),
              Fails(StatusCode::kNotFound, (dir_ / "s9.safetensors").string()));
  EXPECT_THAT(Open(R"({"a":"s9.safetensors"})").status(),
              Fails(StatusCode::kNotFound, "a shard of model.safetensors.index.json"));
  EXPECT_THAT(Open(R"({"a":"s2.safetensors"})").status(),
              Fails(StatusCode::kDataLoss, "places tensor \"a\" in s2.safetensors, which does not hold it"));
  EXPECT_THAT(Open(R"({"a":1})").status(),
              Fails(StatusCode::kDataLoss, "expected a file name for tensor \"a\", found 1"));
  for (const char* bad : {"{}", "[]", "null", "3"}) {
    EXPECT_THAT(Open(bad).status(),
                Fails(StatusCode::kDataLoss, "expected an object weight_map that names at least one tensor"));
  }
  EXPECT_THAT(Open("{").status(),
              Fails(StatusCode::kInvalidArgument, "model.safetensors.index.json is not valid JSON"));
  WriteText(dir_ / "model.safetensors.index.json", "[1]");
  EXPECT_THAT(Safetensors::OpenDirectory(dir_.path()).status(),
              Fails(StatusCode::kDataLoss, "expected an object weight_map"));
}

TEST(SafetensorsWriter, RefusesWhatJsonCannotSay) {
  TempDir dir;
  SafetensorsWriter writer;
  writer.AddMetadata("k", "\xff");
  EXPECT_THAT(writer.Write(dir / "x"), Fails(StatusCode::kInvalidArgument, "is not UTF-8"));
  EXPECT_THAT(SafetensorsWriter().Write(dir / "missing" / "x"), Fails(StatusCode::kNotFound, "cannot create"));
  EXPECT_TRUE(dir.Names().empty());
}

TEST(SafetensorsWriterDeathTest, BugsOfTheCallerEndTheProgram) {
  const Buffer buffer = Buffer::Host(64);
  SafetensorsWriter writer;
  writer.Add("a", buffer.View(DType::kF32, {2}));
  EXPECT_DEATH(writer.Add("a", buffer.View(DType::kF32, {2})), "added twice");
  EXPECT_DEATH(writer.Add("b", ConstTensorView(buffer.data(), DType::kF32, {2, 2}, 4)), "not packed");
  EXPECT_DEATH(writer.Add("__metadata__", buffer.View(DType::kF32, {2})), "is not a name for a tensor");
}

// The model in the repository, written by the reference implementation.
TEST(Safetensors, ReadsTheDemoModel) {
  const auto checkpoint = Safetensors::OpenDirectory(std::filesystem::path(NOSA_SOURCE_DIR) / "models" / "nosa-21m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
  const std::vector<std::string> names = (*checkpoint)->Names();
  EXPECT_FALSE(names.empty());
  for (const std::string& name : names) EXPECT_OK((*checkpoint)->Get(name).status());
}

}  // namespace
}  // namespace nosa::io

#include "apps/flags.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "apps/common_flags.h"

namespace nosa::apps {
namespace {

// A program with one command; what parsing throws, as text; empty when it threw nothing.
struct Fixture {
  CLI::App program{"a test", "nosa"};
  std::vector<Command> leaves;
  Command command{program.add_subcommand("do", "does"), &leaves};

  std::string Parse(std::vector<std::string> args) {
    args.insert(args.begin(), "do");
    std::reverse(args.begin(), args.end());  // as CLI11 takes them
    try {
      program.parse(args);
      return "";
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
  }
};

TEST(FlagsTest, ValuesGoWhereTheyBelong) {
  Fixture f;
  bool quiet = false, direct = true;
  std::string text = "default", choice = "a";
  std::optional<std::string> maybe;
  std::vector<std::string> texts;
  int count = 3;
  std::optional<int> topk;
  std::vector<int> lengths = {1};
  uint64_t seed = 0;
  float x = 0;
  std::optional<uint64_t> size;
  f.command.Switch("--quiet", &quiet, "");
  f.command.OnOff("--direct", &direct, "");
  f.command.Text("--text", &text, "");
  f.command.Text("--maybe", &maybe, "");
  f.command.Texts("--texts", &texts, "");
  f.command.Choice("--choice", &choice, {"a", "b"}, "");
  f.command.Int("--count", &count, 0, "");
  f.command.Int("--topk", &topk, 1, "");
  f.command.Ints("--lengths", &lengths, 1, "");
  f.command.Seed("--seed", &seed, "");
  f.command.Number("--x", &x, "");
  f.command.Size("--size", &size, "");
  EXPECT_EQ(f.Parse({"--quiet",
                     "--direct",
                     "off",
                     "--text",
                     "[a,b]",
                     "--maybe",
                     "",
                     "--texts",
                     "one",
                     "--texts",
                     "[two,three]",
                     "--choice",
                     "b",
                     "--count",
                     "7",
                     "--topk",
                     "64",
                     "--lengths",
                     "5,6",
                     "--lengths",
                     "7",
                     "--seed",
                     "18446744073709551615",
                     "--x",
                     "-0.5",
                     "--size",
                     "1.5MiB"}),
            "");
  EXPECT_TRUE(quiet);
  EXPECT_FALSE(direct);
  EXPECT_EQ(text, "[a,b]");
  EXPECT_EQ(maybe, "");
  EXPECT_EQ(texts, (std::vector<std::string>{"one", "[two,three]"}));
  EXPECT_EQ(choice, "b");
  EXPECT_EQ(count, 7);
  EXPECT_EQ(topk, 64);
  EXPECT_EQ(lengths, (std::vector<int>{5, 6, 7}));
  EXPECT_EQ(seed, UINT64_MAX);
  EXPECT_EQ(x, -0.5f);
  EXPECT_EQ(size, 1536u * 1024);
}

TEST(FlagsTest, WhatIsNotGivenKeepsItsDefault) {
  Fixture f;
  int count = 3;
  std::vector<int> lengths = {1, 2};
  std::optional<uint64_t> size;
  f.command.Int("--count", &count, 0, "");
  f.command.Ints("--lengths", &lengths, 1, "");
  f.command.Size("--size", &size, "");
  EXPECT_EQ(f.Parse({}), "");
  EXPECT_EQ(count, 3);
  EXPECT_EQ(lengths, (std::vector<int>{1, 2}));
  EXPECT_EQ(size, std::nullopt);
  EXPECT_NE(f.program.get_subcommand("do")->help().find("--count N=3"), std::string::npos);
}

TEST(FlagsTest, WrongValuesNameTheFlagAndBothSides) {
  int count = 3, percent = 0;
  float x = 0;
  std::vector<int> lengths;
  std::optional<uint64_t> size;
  const auto error = [&](std::vector<std::string> args) {
    Fixture f;
    f.command.Int("--count", &count, 1, "");
    f.command.Int("--percent", &percent, 0, "", 100);
    f.command.Number("--x", &x, "");
    f.command.Ints("--lengths", &lengths, 1, "");
    f.command.Size("--size", &size, "");
    return f.Parse(std::move(args));
  };
  EXPECT_EQ(error({"--count", "0"}), "--count: expected an integer of at least 1, found \"0\"");
  EXPECT_EQ(error({"--count", "5x"}), "--count: expected an integer of at least 1, found \"5x\"");
  EXPECT_EQ(error({"--count", "99999999999"}), "--count: expected an integer of at least 1, found \"99999999999\"");
  EXPECT_EQ(error({"--percent", "101"}), "--percent: expected an integer from 0 to 100, found \"101\"");
  EXPECT_EQ(error({"--x", ""}), "--x: expected a number, found \"\"");
  EXPECT_EQ(error({"--lengths", "1,,2"}), "--lengths: expected an integer of at least 1, found \"\"");
  EXPECT_NE(error({"--size", "-1"}).find("--size: expected a size such as 512MiB"), std::string::npos);
  EXPECT_NE(error({"--count", "1", "--count", "2"}), "");
  EXPECT_NE(error({"--nothing"}).find("--nothing"), std::string::npos);
  EXPECT_EQ(count, 3) << "a refused value was stored";
}

TEST(FlagsTest, CommandsBelowCommands) {
  Fixture f;
  int ran = 0;
  f.command.Sub("this", "").Does([&] {
    ran = 1;
    return Status::Ok();
  });
  f.command.Sub("that", "").Does([&] {
    ran = 2;
    return Status::Ok();
  });
  EXPECT_EQ(f.Parse({"that"}), "");
  ASSERT_EQ(f.leaves.size(), 2u);
  EXPECT_FALSE(f.leaves[0].Chosen());
  ASSERT_TRUE(f.leaves[1].Chosen());
  EXPECT_EQ(f.leaves[1].Path(), "do that");
  EXPECT_TRUE(f.leaves[1].Run().ok());
  EXPECT_EQ(ran, 2);
}

TEST(CommonFlagsTest, DefaultsAreTheLibrarys) {
  Fixture f;
  CommonFlags flags;
  AddCommonFlags(f.command, &flags);
  EXPECT_EQ(f.Parse({"--model", "m"}), "");
  EXPECT_EQ(flags.prefill_chunk, std::nullopt);
  EXPECT_EQ(flags.kv_codec, engine::EngineOptions().kv_codec);
  EXPECT_EQ(flags.kv_direct, kv::TierOptions().direct_io);
  EXPECT_EQ(flags.kv_disk, std::nullopt);
  EXPECT_TRUE(CheckCommonFlags(flags).ok());
}

TEST(CommonFlagsTest, WhatNeedsAGpuIsRefusedWithoutOne) {
  CommonFlags flags;
  flags.kv_device = 1;
  EXPECT_NE(std::string(CheckCommonFlags(flags).message()).find("--kv-device needs --backend cuda"), std::string::npos);
  flags.decode = "planned";
  EXPECT_NE(std::string(CheckCommonFlags(flags).message()).find("found --decode planned"), std::string::npos);
  flags.decode = "auto";
  flags.kv_device.reset();
  flags.gpu_memory = 1;
  EXPECT_NE(std::string(CheckCommonFlags(flags).message()).find("--gpu-memory needs --backend cuda"),
            std::string::npos);
  flags.backend = "cuda";
#if NOSA_HAS_CUDA
  flags.kv_device = 1;
  EXPECT_TRUE(CheckCommonFlags(flags).ok());
#else
  EXPECT_NE(std::string(CheckCommonFlags(flags).message()).find("--backend cuda is not built in"), std::string::npos);
#endif
}

TEST(CommonFlagsTest, ModelIsRequiredUnlessTheCommandSaysSo) {
  Fixture f;
  CommonFlags flags;
  AddCommonFlags(f.command, &flags);
  EXPECT_EQ(f.Parse({}), "--model is required");
  Fixture g;
  AddCommonFlags(g.command, &flags, {.model_required = false});
  EXPECT_EQ(g.Parse({}), "");
}

}  // namespace
}  // namespace nosa::apps

// What every KV codec must do. A program instantiates it over its codecs:
//   INSTANTIATE_TEST_SUITE_P(Mine, CodecConformance, testing::ValuesIn(...), CaseName);
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kv/codec.h"

namespace nosa::kv {

struct CodecCase {
  std::string name;
  std::unique_ptr<KvCodec> (*make)(const std::string& name);
  friend std::ostream& operator<<(std::ostream& out, const CodecCase& c) { return out << c.name; }
};

class CodecConformance : public testing::TestWithParam<CodecCase> {
 protected:
  using Bytes = std::vector<std::byte>;

  // Block 1, one value, odd sizes, keys and values of different width, with and without importance.
  static std::vector<BlockLayout> Layouts() {
    std::vector<BlockLayout> layouts;
    for (const auto& [block, k, v] :
         {std::array{1, 1, 1}, {1, 8, 8}, {3, 7, 5}, {5, 1, 9}, {16, 64, 32}, {64, 128, 128}, {65, 33, 96}}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool importance : {false, true}) {
          layouts.push_back({.layers = 2,
                             .kv_heads = 2,
                             .block_size = block,
                             .k_dim = k,
                             .v_dim = v,
                             .dtype = dtype,
                             .has_importance = importance});
        }
      }
    }
    return layouts;
  }

  static std::string Text(const BlockLayout& l) {
    return fmt::format("block {} of {}+{} {}{}", l.block_size, l.k_dim, l.v_dim, DTypeName(l.dtype),
                       l.has_importance ? " with s" : "");
  }

  // Normal values; every row at a scale of its own, as tokens differ.
  static Bytes RandomBlock(const BlockLayout& layout, uint64_t stream) {
    Bytes block(layout.BlockBytes());
    const Philox rng(3, stream);
    uint64_t n = 0;
    for (int t = 0; t < layout.block_size; ++t) {
      const ops::KvRow row = layout.Row(block.data(), t);
      const float scale = std::exp2(3 * rng.Normal(n++));
      for (int i = 0; i < layout.k_dim; ++i)
        StoreFloat(row.k, layout.dtype, static_cast<size_t>(i), scale * rng.Normal(n++));
      for (int i = 0; i < layout.v_dim; ++i) StoreFloat(row.v, layout.dtype, static_cast<size_t>(i), rng.Normal(n++));
      if (row.s != nullptr) *row.s = t % 3 == 2 ? -INFINITY : 1000 * rng.Normal(n++);
    }
    return block;
  }

  static Bytes RandomBytes(size_t size, uint64_t stream) {
    const Philox rng(4, stream);
    Bytes bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(rng.Block(i)[0]);
    return bytes;
  }

  // max |decoded - original| / max |original| over K and V.
  static double MaxError(const BlockLayout& layout, const Bytes& original, const Bytes& decoded) {
    double worst = 0, largest = 0;
    const auto add = [&](const std::byte* a, const std::byte* b, int count) {
      for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
        const double x = LoadFloat(a, layout.dtype, i), y = LoadFloat(b, layout.dtype, i);
        worst = std::max(worst, std::isnan(y) ? INFINITY : std::abs(x - y));
        largest = std::max(largest, std::abs(x));
      }
    };
    add(layout.K(original.data()), layout.K(decoded.data()), layout.block_size * layout.k_dim);
    add(layout.V(original.data()), layout.V(decoded.data()), layout.block_size * layout.v_dim);
    return worst / largest;
  }

  std::unique_ptr<KvCodec> codec_ = GetParam().make(GetParam().name);
};

TEST_P(CodecConformance, SaysWhatItIs) {
  const ErrorBound error = codec_->Error();
  EXPECT_EQ(codec_->name(), GetParam().name);
  EXPECT_LE(0, error.floor);
  EXPECT_LE(error.floor, error.ceiling);
  EXPECT_LT(error.ceiling, 1);
  EXPECT_EQ(codec_->lossless(), error.ceiling == 0);
  EXPECT_TRUE(codec_->lossless() || !codec_->identity());
}

TEST_P(CodecConformance, RoundTripsWithinItsError) {
  for (const BlockLayout& layout : Layouts()) {
    SCOPED_TRACE(Text(layout));
    for (uint64_t stream = 0; stream < 4; ++stream) {
      const Bytes block = RandomBlock(layout, stream);
      Bytes encoded(codec_->EncodedBytes(layout)), decoded = RandomBytes(block.size(), stream);
      ASSERT_TRUE(codec_->Encode(layout, block, encoded).ok());
      const Status status = codec_->Decode(layout, encoded, decoded);
      ASSERT_TRUE(status.ok()) << status.ToString();
      const double error = MaxError(layout, block, decoded);
      EXPECT_LE(error, codec_->Error().ceiling);
      // A row of few values may be exact by chance.
      if (std::min(layout.k_dim, layout.v_dim) >= 8) {
        EXPECT_GE(error, codec_->Error().floor);
      }
      if (layout.has_importance) {
        EXPECT_EQ(std::memcmp(layout.S(block.data()), layout.S(decoded.data()), layout.SBytes()), 0);
      }
      if (codec_->lossless()) {
        EXPECT_EQ(std::memcmp(block.data(), decoded.data(), layout.KBytes() + layout.VBytes()), 0);
      }
      if (codec_->identity()) {
        EXPECT_EQ(encoded, block);
      }
    }
  }
}

TEST_P(CodecConformance, ZerosStayZero) {
  for (const BlockLayout& layout : Layouts()) {
    const Bytes block(layout.BlockBytes());
    Bytes encoded(codec_->EncodedBytes(layout)), decoded = RandomBytes(block.size(), 1);
    ASSERT_TRUE(codec_->Encode(layout, block, encoded).ok());
    ASSERT_TRUE(codec_->Decode(layout, encoded, decoded).ok());
    const size_t values = (layout.KBytes() + layout.VBytes()) / DTypeBytes(layout.dtype);
    for (size_t i = 0; i < values; ++i) ASSERT_EQ(LoadFloat(decoded.data(), layout.dtype, i), 0) << Text(layout);
  }
}

// Every byte is written, each time alike, wherever the bytes lie: a record is checksummed and sits at any offset.
TEST_P(CodecConformance, EncodedBytesDependOnTheBlockAlone) {
  for (const BlockLayout& layout : Layouts()) {
    SCOPED_TRACE(Text(layout));
    const size_t size = codec_->EncodedBytes(layout);
    const Bytes block = RandomBlock(layout, 9);
    Bytes first(size, std::byte{0x55}), shifted(size + 1, std::byte{0xaa});
    const MutableBytes second = MutableBytes(shifted).subspan(1);
    ASSERT_TRUE(codec_->Encode(layout, block, first).ok());
    ASSERT_TRUE(codec_->Encode(layout, block, second).ok());
    EXPECT_EQ(std::memcmp(first.data(), second.data(), size), 0);
    Bytes a(block.size()), b(block.size());
    ASSERT_TRUE(codec_->Decode(layout, first, a).ok());
    ASSERT_TRUE(codec_->Decode(layout, second, b).ok());
    EXPECT_EQ(a, b);
  }
}

TEST_P(CodecConformance, RefusesOtherSizes) {
  for (const BlockLayout& layout : Layouts()) {
    SCOPED_TRACE(Text(layout));
    const size_t size = codec_->EncodedBytes(layout);
    Bytes block = RandomBlock(layout, 1), shorter(block.size() - 1), longer(block.size() + 1);
    Bytes encoded(size), less(size - 1), more(size + 1);
    EXPECT_EQ(codec_->Encode(layout, shorter, encoded).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(codec_->Encode(layout, longer, encoded).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(codec_->Encode(layout, block, less).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(codec_->Encode(layout, block, more).code(), StatusCode::kInvalidArgument);
    ASSERT_TRUE(codec_->Encode(layout, block, encoded).ok());
    EXPECT_EQ(codec_->Decode(layout, less, block).code(), StatusCode::kDataLoss);
    EXPECT_EQ(codec_->Decode(layout, more, block).code(), StatusCode::kDataLoss);
    EXPECT_EQ(codec_->Decode(layout, {}, block).code(), StatusCode::kDataLoss);
    EXPECT_EQ(codec_->Decode(layout, encoded, shorter).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(codec_->Decode(layout, encoded, longer).code(), StatusCode::kInvalidArgument);
  }
}

// Sanitizers judge: any bytes decode to something or are damage.
TEST_P(CodecConformance, DamagedInputNeverCrashes) {
  const Philox rng(8);
  for (const BlockLayout& layout : Layouts()) {
    Bytes block = RandomBlock(layout, 2), encoded(codec_->EncodedBytes(layout));
    ASSERT_TRUE(codec_->Encode(layout, block, encoded).ok());
    for (uint64_t round = 0; round < 60; ++round) {
      Bytes bad = round % 3 == 0 ? RandomBytes(encoded.size(), round) : encoded;
      const auto draw = rng.Block(round);
      bad[draw[0] % bad.size()] ^= static_cast<std::byte>(1 + draw[1] % 255);
      std::fill_n(bad.begin() + draw[2] % bad.size(), 1, round % 2 == 0 ? std::byte{0xff} : std::byte{0x7f});
      const Status status = codec_->Decode(layout, bad, block);
      EXPECT_TRUE(status.ok() || status.code() == StatusCode::kDataLoss) << status.ToString();
      bad.resize(draw[3] % bad.size());
      bad.shrink_to_fit();
      EXPECT_EQ(codec_->Decode(layout, bad, block).code(), StatusCode::kDataLoss);
    }
  }
}

}  // namespace nosa::kv

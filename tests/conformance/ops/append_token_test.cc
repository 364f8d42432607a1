#include "ops/append_token.h"

#include "ops/pool_windows.h"
#include "seat_problem.h"

namespace nosa::ops {
namespace {

struct AppendShape {
  int block, k_dim, v_dim, kv_heads;
  int kernel_size, kernel_stride;
  DType cache, summary;
  bool importance;
  std::string Name() const {
    return fmt::format("B {} D {} Dv {} G {} ks {} st {} {} to {}{}", block, k_dim, v_dim, kv_heads, kernel_size,
                       kernel_stride, DTypeName(cache), DTypeName(summary), importance ? "" : ", no importance");
  }
};

const AppendShape kShapes[] = {
    {64, 128, 128, 2, 32, 16, DType::kBF16, DType::kBF16, true},
    {64, 64, 64, 2, 32, 16, DType::kF32, DType::kF32, true},
    {64, 64, 64, 1, 32, 16, DType::kBF16, DType::kF32, true},
    {16, 40, 40, 3, 8, 4, DType::kF32, DType::kBF16, true},
    {16, 40, 24, 2, 8, 4, DType::kBF16, DType::kBF16, false},
    {16, 5, 3, 4, 16, 16, DType::kF32, DType::kF32, true},
    {12, 5, 7, 2, 18, 6, DType::kBF16, DType::kBF16, true},
    {1, 1, 1, 1, 1, 1, DType::kF32, DType::kF32, false},
};

// Seats with everything that an append touches, filled with things that show when they are touched.
class Cache {
 public:
  Cache(const AppendShape& shape, int seats, int slots, int max_blocks)
      : shape_(shape),
        frame_(MakeFrame(shape.block, shape.k_dim, shape.v_dim, shape.cache, shape.importance)),
        seats_(seats),
        slots_(slots),
        max_blocks_(max_blocks) {
    const size_t lanes = this->lanes(), bytes = frame_.bytes, pages_of_lane = static_cast<size_t>(max_blocks);
    const int tokens = max_blocks * shape.block;
    const size_t windows =
        static_cast<size_t>(tokens < shape.kernel_size ? 0 : (tokens - shape.kernel_size) / shape.kernel_stride + 1);
    keys_of_lane_ = RoundUp(windows, kWindowTile) * static_cast<size_t>(shape.k_dim) * DTypeBytes(shape.summary);
    sigma_of_lane_ = windows;
    carry_of_lane_ = static_cast<size_t>(shape.kernel_size / shape.kernel_stride * (shape.k_dim + 1));
    frames.assign(lanes * static_cast<size_t>(slots + 1) * bytes + 1, std::byte{0x31});
    blocks.assign(lanes * static_cast<size_t>(slots) + 1, -9);
    used = blocks;
    homes.assign(lanes * pages_of_lane * bytes + 1, std::byte{0x32});
    keys.assign(lanes * keys_of_lane_ + 1, std::byte{0x33});
    sigma.assign(lanes * sigma_of_lane_ + 1, -33.0f);
    for (size_t i = 0; i < lanes * carry_of_lane_ + 1; ++i) carry.push_back(Philox(2).Normal(i));
    for (size_t i = 0; i < lanes * pages_of_lane; ++i) pages.push_back(homes.data() + i * bytes);
    for (size_t lane = 0; lane < lanes; ++lane) {
      states.push_back({keys.data() + lane * keys_of_lane_,
                        shape.importance ? sigma.data() + lane * sigma_of_lane_ : nullptr,
                        carry.data() + lane * carry_of_lane_});
    }
  }
  Cache(const Cache&) = delete;

  void Append(Backend& backend, const TestVector<int32_t>& positions, uint64_t token) {
    const RandomTensor k = K(token), v = V(token), s = S(token);
    append_token(backend, {},
                 {.k = k.view,
                  .v = v.view,
                  .s = shape_.importance ? ConstTensorView(s.view) : ConstTensorView(),
                  .positions = positions,
                  .states = states,
                  .lanes = {frames.data(), blocks.data(), used.data(), pages.data(), seats_, shape_.kv_heads, slots_,
                            max_blocks_},
                  .frame = frame_,
                  .kernel_size = shape_.kernel_size,
                  .kernel_stride = shape_.kernel_stride,
                  .summary_dtype = shape_.summary});
  }
  RandomTensor K(uint64_t token) const {
    return {DType::kF32, {seats_, shape_.kv_heads, shape_.k_dim}, 10 * token + 1};
  }
  RandomTensor V(uint64_t token) const {
    return {DType::kF32, {seats_, shape_.kv_heads, shape_.v_dim}, 10 * token + 2};
  }
  RandomTensor S(uint64_t token) const { return {DType::kF32, {seats_, shape_.kv_heads}, 10 * token + 3}; }

  size_t lanes() const { return static_cast<size_t>(seats_ * shape_.kv_heads); }
  const BlockFrame& frame() const { return frame_; }
  std::byte* Tail(size_t lane) {
    return frames.data() + (lane * static_cast<size_t>(slots_ + 1) + static_cast<size_t>(slots_)) * frame_.bytes;
  }
  std::byte* Home(size_t lane, int block) {
    return homes.data() + (lane * static_cast<size_t>(max_blocks_) + static_cast<size_t>(block)) * frame_.bytes;
  }
  KvRow Row(std::byte* block, int row) const {
    const size_t r = static_cast<size_t>(row), bytes = DTypeBytes(frame_.dtype);
    return {block + r * static_cast<size_t>(frame_.k_dim) * bytes,
            block + frame_.v_offset + r * static_cast<size_t>(frame_.v_dim) * bytes,
            frame_.s_offset == 0 ? nullptr : reinterpret_cast<float*>(block + frame_.s_offset) + row};
  }
  std::byte*& Page(size_t lane, int block) {
    return pages[lane * static_cast<size_t>(max_blocks_) + static_cast<size_t>(block)];
  }

  TestVector<std::byte> frames, homes, keys;
  TestVector<int32_t> blocks, used;
  TestVector<float> sigma, carry;
  TestVector<std::byte*> pages;
  TestVector<WindowState> states;
  size_t keys_of_lane_ = 0, sigma_of_lane_ = 0, carry_of_lane_ = 0;

 private:
  AppendShape shape_;
  BlockFrame frame_;
  int seats_, slots_, max_blocks_;
};

void ExpectSame(const Cache& a, const Cache& b) {
  ASSERT_EQ(a.frames, b.frames);
  ASSERT_EQ(a.homes, b.homes);
  ASSERT_EQ(a.keys, b.keys);
  ASSERT_EQ(a.sigma, b.sigma);
  ASSERT_EQ(a.carry, b.carry);
  ASSERT_EQ(a.blocks, b.blocks);
  ASSERT_EQ(a.used, b.used);
}

// Every rounding is one of the contract's: the same bits.
TEST(append_token, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const AppendShape& shape : kShapes) {
    const int32_t b = shape.block, ks = shape.kernel_size, last = 6 * b + ks;
    const TestVector<int32_t> positions = {
        0,    -1,       1,       ks - 2 < 0 ? 0 : ks - 2, ks - 1, ks, b - 1, -1, b, b + 1, 2 * b - 1, 4 * b + 1,
        last, last + 1, last - 1};
    const int seats = static_cast<int>(positions.size()), blocks = (last + 1) / b + 1;
    for (const int slots : {0, 3}) {
      for (const BackendCase& backend : BackendCases()) {
        SCOPED_TRACE(fmt::format("{} {} {} slots", backend.name, shape.Name(), slots));
        Cache expected(shape, seats, slots, blocks), found(shape, seats, slots, blocks);
        for (Cache* cache : {&expected, &found}) {
          // Homes that are not there yet: of single lanes, and of a whole seat.
          for (size_t lane = 0; lane < cache->lanes(); ++lane) {
            const size_t seat = lane / static_cast<size_t>(shape.kv_heads);
            const bool first = lane % static_cast<size_t>(shape.kv_heads) == 0;
            if (positions[seat] < 0 || (seat % 3 == 1 && !first) || (seat % 5 == 4 && first) || seat == 8)
              cache->Page(lane, std::max(0, positions[seat]) / b) = nullptr;
          }
        }
        expected.Append(*reference, positions, 1);
        found.Append(*backend.make(), positions, 1);
        ExpectSame(expected, found);
      }
    }
  }
}

// What an f32 is in the cache.
float Rounded(float x, DType dtype) {
  alignas(4) std::byte bytes[4];
  StoreFloat(bytes, dtype, 0, x);
  return LoadFloat(bytes, dtype, 0);
}

// Token by token: the tail and the page hold what was given, and the summaries are what pool_windows makes of the
// cached rows in one call. A seat that starts later, one that never does, one lane without homes.
TEST(append_token, TokenByTokenIsARebuild) {
  const auto reference = reference::MakeReferenceBackend();
  for (const auto& backend : BackendsAndReference()) {
    for (const AppendShape& shape : kShapes) {
      SCOPED_TRACE(fmt::format("{} {}", backend->name(), shape.Name()));
      constexpr int kTokens = 200, kLate = 50, kSlots = 2;
      const int b = shape.block, blocks = kTokens / b + 1, heads = shape.kv_heads;
      Cache cache(shape, 3, kSlots, blocks), built(shape, 3, kSlots, blocks);
      built.keys = cache.keys;
      const size_t homeless = static_cast<size_t>(heads);  // the first lane of seat 1
      for (int i = 0; i < blocks; ++i) cache.Page(homeless, i) = nullptr;
      // All rows of seats 0 and 1 as they should be cached, [seat][token][head].
      std::vector<std::vector<KvRow>> rows(2);
      std::vector<TestVector<std::byte>> memory;
      memory.reserve(2 * kTokens);
      for (int t = 0; t < kTokens; ++t) {
        TestVector<int32_t> positions = {t, t < kLate ? -1 : t - kLate, -1};
        cache.Append(*backend, positions, static_cast<uint64_t>(t));
        const RandomTensor k = cache.K(static_cast<uint64_t>(t)), v = cache.V(static_cast<uint64_t>(t)),
                           s = cache.S(static_cast<uint64_t>(t));
        for (int seat = 0; seat < 2; ++seat) {
          const int pos = positions[static_cast<size_t>(seat)];
          if (pos < 0) continue;
          const size_t row_bytes = RoundUp(static_cast<size_t>(shape.k_dim) * DTypeBytes(shape.cache), 16) + 16;
          auto& own = memory.emplace_back(row_bytes * static_cast<size_t>(heads));
          for (int g = 0; g < heads; ++g) {
            const size_t lane = static_cast<size_t>(seat * heads + g);
            const int64_t at = seat * heads + g;
            std::byte* kept = own.data() + row_bytes * static_cast<size_t>(g);
            float* kept_s = reinterpret_cast<float*>(kept + row_bytes - 16);
            for (int d = 0; d < shape.k_dim; ++d)
              StoreFloat(kept, shape.cache, static_cast<size_t>(d), k.At(at * shape.k_dim + d));
            *kept_s = s.At(at);
            rows[static_cast<size_t>(seat)].push_back({kept, nullptr, shape.importance ? kept_s : nullptr});
            for (std::byte* block : {cache.Tail(lane), lane == homeless ? nullptr : cache.Home(lane, pos / b)}) {
              if (block == nullptr) continue;
              const KvRow row = cache.Row(block, pos % b);
              for (int d = 0; d < shape.k_dim; ++d)
                ASSERT_EQ(LoadFloat(row.k, shape.cache, static_cast<size_t>(d)),
                          Rounded(k.At(at * shape.k_dim + d), shape.cache))
                    << "lane " << lane << " position " << pos;
              for (int d = 0; d < shape.v_dim; ++d)
                ASSERT_EQ(LoadFloat(row.v, shape.cache, static_cast<size_t>(d)),
                          Rounded(v.At(at * shape.v_dim + d), shape.cache));
              if (shape.importance) {
                ASSERT_EQ(*row.s, s.At(at));
              }
            }
          }
          const PoolWindowsArgs::Segment segment = {0, pos + 1, 0, seat * heads};
          reference::pool_windows(*reference, {},
                                  {{&segment, 1},
                                   rows[static_cast<size_t>(seat)],
                                   built.states,
                                   heads,
                                   shape.k_dim,
                                   shape.kernel_size,
                                   shape.kernel_stride,
                                   shape.cache,
                                   shape.summary});
        }
        ASSERT_EQ(built.keys, cache.keys) << "after token " << t;
        ASSERT_EQ(built.sigma, cache.sigma) << "after token " << t;
        ASSERT_EQ(built.carry, cache.carry) << "after token " << t;
      }
      // A full block at home is the block that the tail was; rows are not disturbed later.
      for (size_t lane = 0; lane < static_cast<size_t>(heads); ++lane) {
        const KvRow first = cache.Row(cache.Home(lane, 0), 0);
        const RandomTensor k = cache.K(0);
        for (int d = 0; d < shape.k_dim; ++d)
          ASSERT_EQ(LoadFloat(first.k, shape.cache, static_cast<size_t>(d)),
                    Rounded(k.At(static_cast<int64_t>(lane) * shape.k_dim + d), shape.cache));
      }
      // Nothing else moved: the slots, the tables, the empty seat, the missing homes.
      const Cache untouched(shape, 3, kSlots, blocks);
      ASSERT_EQ(untouched.blocks, cache.blocks);
      ASSERT_EQ(untouched.used, cache.used);
      const size_t bytes = cache.frame().bytes;
      for (size_t lane = 0; lane < cache.lanes(); ++lane) {
        const size_t from = lane * (kSlots + 1) * bytes,
                     frames = (lane / static_cast<size_t>(heads) == 2 ? 3 : 2) * bytes;
        ASSERT_EQ(std::memcmp(cache.frames.data() + from, untouched.frames.data() + from, frames), 0) << lane;
        if (lane != homeless && lane / static_cast<size_t>(heads) != 2) continue;
        const size_t home = lane * static_cast<size_t>(blocks) * bytes;
        ASSERT_EQ(
            std::memcmp(cache.homes.data() + home, untouched.homes.data() + home, static_cast<size_t>(blocks) * bytes),
            0)
            << lane;
      }
    }
  }
}

}  // namespace
}  // namespace nosa::ops

#include "ops/store_kv.h"

#include <cstring>
#include <limits>

#include "op_test.h"

namespace nosa::ops {
namespace {

struct Cache {
  Cache(int64_t tokens, int64_t heads, int64_t k_dim, int64_t v_dim, DType dtype, bool keep_s)
      : k(static_cast<size_t>(tokens * heads * k_dim) * DTypeBytes(dtype) + 8, std::byte{0xab}),
        v(static_cast<size_t>(tokens * heads * v_dim) * DTypeBytes(dtype) + 8, std::byte{0xab}),
        s(static_cast<size_t>(tokens * heads) + 1, 99.0f) {
    for (int64_t i = 0; i < tokens * heads; ++i) {
      // Backwards, as no caller's order may be assumed.
      const auto at = static_cast<size_t>(tokens * heads - 1 - i);
      rows.push_back({k.data() + at * static_cast<size_t>(k_dim) * DTypeBytes(dtype),
                      v.data() + at * static_cast<size_t>(v_dim) * DTypeBytes(dtype), keep_s ? &s[at] : nullptr});
    }
  }
  TestVector<std::byte> k, v;
  TestVector<float> s;
  std::vector<KvRow> rows;
};

TEST(store_kv, MatchesTheTwinBitForBit) {
  const auto reference = reference::MakeReferenceBackend();
  for (const BackendCase& backend : BackendCases()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t tokens : {0, 1, 3, 300}) {
        for (const auto& [k_dim, v_dim] :
             std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {1, 1}, {17, 31}, {128, 96}}) {
          for (const int s_mode : {0, 1, 2}) {  // given and kept, given and not kept, not given but kept
            SCOPED_TRACE(fmt::format("{} {} tokens {} k {} v {} s {}", backend.name, DTypeName(dtype), tokens, k_dim,
                                     v_dim, s_mode));
            const RandomTensor k(DType::kF32, {tokens, 2, k_dim}, 1), v(DType::kF32, {tokens, 2, v_dim}, 2),
                s(DType::kF32, {tokens, 2}, 3);
            Cache expected(tokens, 2, k_dim, v_dim, dtype, s_mode != 1), found = expected;
            found = Cache(tokens, 2, k_dim, v_dim, dtype, s_mode != 1);
            const auto args = [&](const Cache& cache) {
              return StoreKvArgs{k.view, v.view, s_mode == 2 ? ConstTensorView() : ConstTensorView(s.view), cache.rows,
                                 dtype};
            };
            store_kv(*reference, {}, args(expected));
            store_kv(*backend.make(), {}, args(found));
            EXPECT_EQ(expected.k, found.k);
            EXPECT_EQ(expected.v, found.v);
            EXPECT_EQ(expected.s, found.s);
          }
        }
      }
    }
  }
}

TEST(store_kv, RoundsToNearestEven) {
  // 1 + 2^-8 lies halfway between two bf16 and goes to the even one below; 1 + 3 * 2^-8 to the even one above.
  const float inf = std::numeric_limits<float>::infinity();
  TestVector<float> values = {1.00390625f, 1.01171875f, 1.00390637f, -1.00390625f, 3.4e38f,
                              inf,         -inf,        NAN,         -0.0f,        1e-40f};
  const std::vector<uint16_t> bits = {0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x7f80, 0x7f80, 0xff80, 0x7fc0, 0x8000, 0x0001};
  const auto n = static_cast<int64_t>(values.size());
  for (const auto& backend : BackendsAndReference()) {
    Cache cache(1, 1, n, n, DType::kBF16, true);
    store_kv(*backend, {},
             {ConstTensorView(values.data(), DType::kF32, {1, 1, n}),
              ConstTensorView(values.data(), DType::kF32, {1, 1, n}),
              {},
              cache.rows,
              DType::kBF16});
    EXPECT_EQ(std::memcmp(cache.rows[0].k, bits.data(), bits.size() * 2), 0) << backend->name();
    EXPECT_EQ(std::memcmp(cache.rows[0].v, bits.data(), bits.size() * 2), 0) << backend->name();
    EXPECT_EQ(*cache.rows[0].s, 0.0f);
  }
}

}  // namespace
}  // namespace nosa::ops

#include "ops/product.h"

#include "compare.h"

namespace nosa::ops {
namespace {

using Mode = ProductArgs::Mode;

std::string Label(const TargetCase& each, Mode mode, DType dtype, int64_t m, int64_t n, int64_t k) {
  return fmt::format("{} {} {} M {} N {} K {}", each.name, mode == Mode::kRowwise ? "rowwise" : "batched",
                     DTypeName(dtype), m, n, k);
}

// |actual - expected| of each element, allowing a rounding of the sum of magnitudes for every one of K products and
// sums, for adding to y, and for the result.
void ExpectProduct(const TensorView& actual, const TensorView& expected, const TensorView& x, const TensorView& w,
                   const TensorView* before) {
  for (int64_t m = 0; m < x.rows(); ++m) {
    for (int64_t n = 0; n < w.rows(); ++n) {
      double magnitude = before == nullptr ? 0 : std::abs(before->row<float>(m)[n]);
      for (int64_t k = 0; k < x.dim(1); ++k) {
        magnitude += std::abs(static_cast<double>(x.row<float>(m)[k]) *
                              LoadFloat(w.row_bytes(n), w.dtype(), static_cast<size_t>(k)));
      }
      const double allowed = static_cast<double>(x.dim(1) + 2) * kRounding * magnitude * 1.01;
      ASSERT_NEAR(actual.row<float>(m)[n], expected.row<float>(m)[n], allowed) << "row " << m << ", column " << n;
    }
  }
}

TEST(ProductTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const Mode mode : {Mode::kRowwise, Mode::kBatched}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const int64_t m : {0, 1, 5, 17, 65}) {
          for (const int64_t n : {0, 1, 17, 130}) {
            for (const int64_t k : {0, 1, 15, 17, 64, 65, 321}) {
              SCOPED_TRACE(Label(each, mode, dtype, m, n, k));
              const RandomTensor x(DType::kF32, {m, k}, 1), w(dtype, {n, k}, 2);
              const RandomTensor expected(DType::kF32, {m, n}, 3), actual(DType::kF32, {m, n}, 4);
              const ProductArgs::Term wanted[] = {{w.view, expected.view}}, got[] = {{w.view, actual.view}};
              product(*reference, {}, {.x = x.view, .terms = wanted, .mode = mode});
              product(*backend, {}, {.x = x.view, .terms = got, .mode = mode});
              ExpectProduct(actual.view, expected.view, x.view, w.view, nullptr);
            }
          }
        }
      }
    }
  }
}

// Terms of both types, one adding, rows that lie apart, enough work that threads share it.
TEST(ProductTest, SeveralTermsAndStrides) {
  const int64_t k = 129;
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const Mode mode : {Mode::kRowwise, Mode::kBatched}) {
      for (const int64_t m : {1, 7, 70}) {
        SCOPED_TRACE(Label(each, mode, DType::kF32, m, 0, k));
        const RandomTensor x_memory(DType::kF32, {m, k + 3}, 1), w0(DType::kF32, {301, k + 5}, 2),
            w1(DType::kBF16, {66, k + 1}, 3), w2(DType::kBF16, {3, k}, 4);
        const TensorView x(x_memory.buffer.data(), DType::kF32, {m, k}, k + 3);
        const TensorView w[] = {TensorView(w0.buffer.data(), DType::kF32, {301, k}, k + 5),
                                TensorView(w1.buffer.data(), DType::kBF16, {66, k}, k + 1), w2.view};
        const RandomTensor before(DType::kF32, {m, 400}, 5), expected(DType::kF32, {m, 400}, 5),
            actual(DType::kF32, {m, 400}, 5);
        // Columns [0, 301), [310, 376) and [390, 393) of one matrix; what lies between must stay.
        const auto columns = [&](const RandomTensor& y, int64_t begin, int64_t count) {
          return TensorView(y.buffer.as<float>() + begin, DType::kF32, {m, count}, 400);
        };
        const int64_t begin[] = {0, 310, 390};
        std::vector<ProductArgs::Term> wanted, got;
        for (size_t t = 0; t < 3; ++t) {
          wanted.push_back({w[t], columns(expected, begin[t], w[t].rows()), t == 1});
          got.push_back({w[t], columns(actual, begin[t], w[t].rows()), t == 1});
        }
        product(*reference, {}, {.x = x, .terms = wanted, .mode = mode});
        product(*backend, {}, {.x = x, .terms = got, .mode = mode});
        for (size_t t = 0; t < 3; ++t) {
          const TensorView old = columns(before, begin[t], w[t].rows());
          ExpectProduct(got[t].y, wanted[t].y, x, w[t], t == 1 ? &old : nullptr);
        }
        for (const auto& [first, count] : {std::pair<int64_t, int64_t>{301, 9}, {376, 14}, {393, 7}}) {
          EXPECT_TRUE(SameBits(columns(actual, first, count), columns(before, first, count)))
              << "columns from " << first;
        }
      }
    }
  }
}

// As decode steps of many sequences have them: sums that several workers of a device share out, one term adding. The
// same call gives the same bits each time.
TEST(ProductTest, LongSumsOfSomeRows) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{300, 1048}, {40, 4096}, {1500, 72}}) {
      for (const int64_t m : {9, 36, 64, 90}) {
        SCOPED_TRACE(Label(each, Mode::kBatched, DType::kBF16, m, n, k));
        const RandomTensor x(DType::kF32, {m, k}, 1), w(DType::kBF16, {n, k}, 2), before(DType::kF32, {m, n}, 3);
        for (const bool accumulate : {false, true}) {
          const RandomTensor expected(DType::kF32, {m, n}, 3), actual(DType::kF32, {m, n}, 3);
          const ProductArgs::Term wanted[] = {{w.view, expected.view, accumulate}},
                                  got[] = {{w.view, actual.view, accumulate}};
          product(*reference, {}, {.x = x.view, .terms = wanted, .mode = Mode::kBatched});
          product(*backend, {}, {.x = x.view, .terms = got, .mode = Mode::kBatched});
          ExpectProduct(actual.view, expected.view, x.view, w.view, accumulate ? &before.view : nullptr);
          for (int i = 0; i < 3; ++i) {
            const RandomTensor again(DType::kF32, {m, n}, 3);
            const ProductArgs::Term same[] = {{w.view, again.view, accumulate}};
            product(*backend, {}, {.x = x.view, .terms = same, .mode = Mode::kBatched});
            EXPECT_TRUE(SameBits(again.view, actual.view));
          }
        }
      }
    }
  }
}

// bf16 weights round x: the result is the rounded inputs' and not the inputs'.
TEST(ProductTest, Bf16RoundsItsInputs) {
  const int64_t k = 64;
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    for (const Mode mode : {Mode::kRowwise, Mode::kBatched}) {
      for (const int64_t m : {1, 32}) {
        SCOPED_TRACE(Label(each, mode, DType::kBF16, m, 16, k));
        const RandomTensor x(DType::kF32, {m, k}, 1), rounded(DType::kBF16, {m, k}, 1), w(DType::kBF16, {16, k}, 2);
        const RandomTensor widened(DType::kF32, {m, k}, 9), w_wide(DType::kF32, {16, k}, 9);
        for (int64_t i = 0; i < m * k; ++i) widened.buffer.as<float>()[i] = rounded.At(i);
        for (int64_t i = 0; i < 16 * k; ++i) w_wide.buffer.as<float>()[i] = w.At(i);
        const RandomTensor from_x(DType::kF32, {m, 16}, 3), from_rounded(DType::kF32, {m, 16}, 4),
            exact(DType::kF32, {m, 16}, 5);
        const ProductArgs::Term first[] = {{w.view, from_x.view}}, second[] = {{w.view, from_rounded.view}},
                                third[] = {{w_wide.view, exact.view}};
        product(*backend, {}, {.x = x.view, .terms = first, .mode = mode});
        product(*backend, {}, {.x = widened.view, .terms = second, .mode = mode});
        product(*backend, {}, {.x = x.view, .terms = third, .mode = mode});
        EXPECT_TRUE(SameBits(from_x.view, from_rounded.view));
        // Each x moves by up to 2^-9 of itself; 64 of them of size 1 by about 8 * 2^-9 * 0.6 together.
        const double moved = MaxDifference(from_x.view, exact.view);
        EXPECT_GT(moved, 1e-3);
        EXPECT_LT(moved, static_cast<double>(k) * 0x1p-9 * 4);
      }
    }
  }
}

// x that was rounded before gives the bits of x that is rounded here: two terms, one of them adding.
TEST(ProductTest, Bf16InputsGiveTheSameBits) {
  const auto check = [](const TargetCase& each, Backend& backend, Mode mode, int64_t m, int64_t k, int64_t gap) {
    SCOPED_TRACE(Label(each, mode, DType::kBF16, m, 130 + 17, k) + fmt::format(" gap {}", gap));
    const RandomTensor x(DType::kF32, {m, k}, 1), w0(DType::kBF16, {130, k}, 2), w1(DType::kBF16, {17, k}, 3);
    const RandomTensor memory(DType::kBF16, {m, k + gap}, 4);
    const TensorView rounded(memory.buffer.data(), DType::kBF16, {m, k}, k + gap);
    for (int64_t i = 0; i < m * k; ++i) rounded.row<BFloat16>(i / k)[i % k] = BFloat16(x.At(i));
    const RandomTensor expected0(DType::kF32, {m, 130}, 5), expected1(DType::kF32, {m, 17}, 6);
    const RandomTensor actual0(DType::kF32, {m, 130}, 5), actual1(DType::kF32, {m, 17}, 6);
    const ProductArgs::Term wanted[] = {{w0.view, expected0.view}, {w1.view, expected1.view, true}},
                            got[] = {{w0.view, actual0.view}, {w1.view, actual1.view, true}};
    product(backend, {}, {.x = x.view, .terms = wanted, .mode = mode});
    product(backend, {}, {.x = rounded, .terms = got, .mode = mode});
    EXPECT_TRUE(SameBits(actual0.view, expected0.view));
    EXPECT_TRUE(SameBits(actual1.view, expected1.view));
  };
  for (const TargetCase& each : TargetsAndReference()) {
    const auto backend = each.Make();
    for (const int64_t m : {0, 1, 5, 8, 9, 16, 17, 33, 65}) {
      for (const int64_t k : {0, 1, 15, 17, 64, 65, 72, 320, 321}) {
        for (const Mode mode : {Mode::kRowwise, Mode::kBatched}) check(each, *backend, mode, m, k, 0);
        // Rows that lie apart, where vectors can be loaded and where they cannot.
        for (const int64_t gap : {8, 3}) check(each, *backend, Mode::kRowwise, m, k, gap);
      }
    }
  }
}

TEST(ProductTest, Bf16InputsMayLieApart) {
  const int64_t n = 66, k = 128;
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const Mode mode : {Mode::kRowwise, Mode::kBatched}) {
      for (const int64_t m : {1, 7, 70}) {
        for (const int64_t gap : {8, 3}) {
          for (const int64_t first : {8, 1}) {  // elements before the first row
            SCOPED_TRACE(Label(each, mode, DType::kBF16, m, n, k) + fmt::format(" gap {} first {}", gap, first));
            const RandomTensor memory(DType::kBF16, {m, k + gap}, 1), w(DType::kBF16, {n, k}, 2);
            const RandomTensor moved(DType::kBF16, {m * (k + gap) + first}, 3), wide(DType::kF32, {m, k}, 3);
            const TensorView x(moved.buffer.as<BFloat16>() + first, DType::kBF16, {m, k}, k + gap);
            for (int64_t i = 0; i < m * k; ++i) {
              x.row<BFloat16>(i / k)[i % k] = BFloat16(memory.At(i));
              wide.buffer.as<float>()[i] = memory.At(i);
            }
            const RandomTensor expected(DType::kF32, {m, n}, 4), actual(DType::kF32, {m, n}, 5);
            const ProductArgs::Term wanted[] = {{w.view, expected.view}}, got[] = {{w.view, actual.view}};
            product(*reference, {}, {.x = x, .terms = wanted, .mode = mode});
            product(*backend, {}, {.x = x, .terms = got, .mode = mode});
            ExpectProduct(actual.view, expected.view, wide.view, w.view, nullptr);
          }
        }
      }
    }
  }
}

// Decode's promise: a row's bits depend on that row alone, whatever its company, its place and the threads.
TEST(ProductTest, RowwiseRowsDependOnThemselvesAlone) {
  const int64_t n = 333, k = 391, rows = 17;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const RandomTensor x(DType::kF32, {rows, k}, 1), w(dtype, {n, k}, 2);
    const auto run = [&](Backend& backend, ConstTensorView some) {
      Buffer y = TestBuffer(static_cast<size_t>(some.rows() * n) * sizeof(float));
      const ProductArgs::Term term[] = {{w.view, y.View(DType::kF32, {some.rows(), n})}};
      product(backend, {}, {.x = some, .terms = term, .mode = Mode::kRowwise});
      return y;
    };
    for (const TargetCase& each : TargetCases()) {
      const auto backend = each.Make();
      std::vector<Buffer> alone;
      for (int64_t m = 0; m < rows; ++m) alone.push_back(run(*backend, x.view.Rows(m, 1)));
      std::vector<std::shared_ptr<Backend>> others = {backend};
      if (backend->name() == "cpu") others = {MakeCpu<1>(), MakeCpu<2>(), MakeCpu<5>()};
      for (const auto& other : others) {
        for (int64_t count = 1; count <= rows; ++count) {
          for (const int64_t begin : {int64_t{0}, (rows - count) / 2, rows - count}) {
            const Buffer y = run(*other, x.view.Rows(begin, count));
            for (int64_t m = 0; m < count; ++m) {
              ASSERT_TRUE(SameBits(y.View(DType::kF32, {count, n}).Rows(m, 1),
                                   alone[static_cast<size_t>(begin + m)].View(DType::kF32, {1, n})))
                  << each.name << ", " << other->threads() << " threads, row " << m << " of " << count << " from "
                  << begin;
            }
          }
        }
      }
    }
  }
}

TEST(ProductTest, RefusesMismatchedShapes) {
  const auto backend = reference::MakeReferenceBackend();
  const RandomTensor x(DType::kF32, {2, 8}, 1), w(DType::kF32, {4, 9}, 2), y(DType::kF32, {2, 4}, 3);
  const ProductArgs::Term term[] = {{w.view, y.view}};
  EXPECT_DEATH(product(*backend, {}, {.x = x.view, .terms = term}), "expected f32 \\[4, 8\\], found f32 \\[4, 9\\]");
}

TEST(ProductTest, RefusesBf16InputsOfF32Weights) {
  const auto backend = reference::MakeReferenceBackend();
  const RandomTensor x(DType::kBF16, {2, 8}, 1), w0(DType::kBF16, {4, 8}, 2), w1(DType::kF32, {3, 8}, 3);
  const RandomTensor y0(DType::kF32, {2, 4}, 4), y1(DType::kF32, {2, 3}, 5);
  const ProductArgs::Term terms[] = {{w0.view, y0.view}, {w1.view, y1.view}};
  EXPECT_DEATH(product(*backend, {}, {.x = x.view, .terms = terms}),
               "x is bf16, so every w must be, found f32 \\[3, 8\\]");
}

}  // namespace
}  // namespace nosa::ops

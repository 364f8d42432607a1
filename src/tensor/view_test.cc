#include "tensor/view.h"

#include <gtest/gtest.h>

#include <numeric>
#include <type_traits>
#include <vector>

namespace nosa {
namespace {

static_assert(std::is_convertible_v<TensorView, ConstTensorView>);
static_assert(!std::is_convertible_v<ConstTensorView, TensorView>);
static_assert(std::is_same_v<decltype(ConstTensorView().row<float>(0)), const float*>);
static_assert(std::is_same_v<decltype(TensorView().row<float>(0)), float*>);

TEST(Shape, CountsAndPrints) {
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(Shape().elements(), 0);
  EXPECT_EQ(Shape().ToString(), "[]");
  EXPECT_EQ(Shape({7}).elements(), 7);
  EXPECT_EQ(Shape({128, 448}).ToString(), "[128, 448]");
  EXPECT_EQ(Shape({2, 3, 4, 5}).elements(), 120);
  EXPECT_EQ(Shape({2, 0, 4}).elements(), 0);
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2}), Shape({2, 0}));
}

TEST(ShapeDeathTest, WhatIsNotAShapeEndsTheProgram) {
  EXPECT_DEATH(Shape({1, 1, 1, 1, 1}), "at most 4 dimensions, found 5");
  EXPECT_DEATH(Shape({3, -1}), "dimension 1 of a shape is negative: -1");
  EXPECT_DEATH((void)Shape({int64_t{1} << 40, int64_t{1} << 40}).elements(), "more than 2\\^63");
}

TEST(TensorView, PackedRows) {
  std::vector<float> data(24);
  std::iota(data.begin(), data.end(), 0.0f);
  const TensorView view(data.data(), DType::kF32, {2, 3, 4});
  EXPECT_TRUE(view.packed());
  EXPECT_FALSE(view.empty());
  EXPECT_EQ(view.rows(), 2);
  EXPECT_EQ(view.RowElements(), 12);
  EXPECT_EQ(view.row_stride(), 12);
  EXPECT_EQ(view.row<float>(1), data.data() + 12);
  view.row<float>(1)[0] = -1;
  EXPECT_EQ(data[12], -1);
}

TEST(TensorView, RowsMayLieApart) {
  std::vector<BFloat16> data(40);
  const ConstTensorView view(data.data(), DType::kBF16, {4, 6}, 10);
  EXPECT_FALSE(view.packed());
  EXPECT_EQ(view.row<BFloat16>(3), data.data() + 30);
  EXPECT_EQ(view.row_bytes(3), reinterpret_cast<const std::byte*>(data.data() + 30));
  const ConstTensorView middle = view.Rows(1, 2);
  EXPECT_EQ(middle.shape(), Shape({2, 6}));
  EXPECT_EQ(middle.row_stride(), 10);
  EXPECT_EQ(middle.row<BFloat16>(1), data.data() + 20);
  EXPECT_EQ(view.Rows(4, 0).rows(), 0);
  EXPECT_TRUE(view.Rows(4, 0).empty());
}

TEST(TensorView, AConstViewKeepsTheStride) {
  std::vector<float> data(30);
  const TensorView view(data.data(), DType::kF32, {3, 4}, 10);
  const ConstTensorView read = view;
  EXPECT_EQ(read.row<float>(2), data.data() + 20);
  EXPECT_EQ(read.dtype(), DType::kF32);
}

TEST(TensorView, ViewsOfNothing) {
  EXPECT_TRUE(TensorView().empty());
  EXPECT_EQ(TensorView().rows(), 0);
  float one = 0;
  EXPECT_TRUE(TensorView(&one, DType::kF32, {0, 8}).empty());
  const TensorView vector(&one, DType::kF32, {1});
  EXPECT_EQ(vector.RowElements(), 1);
  EXPECT_EQ(vector.row<float>(0), &one);
}

}  // namespace
}  // namespace nosa

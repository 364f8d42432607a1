#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace nosa {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument("expected an even number, found {}", n);
  return n / 2;
}

Result<int> Quarter(int n) {
  NOSA_ASSIGN_OR_RETURN(const int half, Half(n));
  NOSA_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status CheckEven(int n) {
  NOSA_RETURN_IF_ERROR(Half(n).status());
  return Status::Ok();
}

TEST(Status, OkCarriesNothing) {
  const Status ok;
  EXPECT_TRUE(ok.ok());
  EXPECT_EQ(ok.code(), StatusCode::kOk);
  EXPECT_EQ(ok.message(), "");
  EXPECT_EQ(ok.ToString(), "ok");
  EXPECT_TRUE(ok.WithContext("reading x").ok());
}

TEST(Status, ErrorKeepsCodeAndMessage) {
  const Status error = DataLoss("block {} of {}", 3, "page 7");
  const Status copy = error;
  EXPECT_FALSE(copy.ok());
  EXPECT_EQ(copy.code(), StatusCode::kDataLoss);
  EXPECT_EQ(copy.ToString(), "data loss: block 3 of page 7");
  EXPECT_EQ(copy.WithContext("kv.bin").ToString(), "data loss: kv.bin: block 3 of page 7");
  EXPECT_EQ(error.message(), "block 3 of page 7");
}

TEST(Status, EveryCodeHasItsFactoryAndName) {
  const Status all[] = {InvalidArgument("x"),   NotFound("x"),  FailedPrecondition("x"),
                        ResourceExhausted("x"), DataLoss("x"),  IoError("x"),
                        Unimplemented("x"),     Cancelled("x"), Internal("x")};
  std::set<std::string_view> names = {StatusCodeName(StatusCode::kOk)};
  for (const Status& status : all) names.insert(StatusCodeName(status.code()));
  EXPECT_EQ(names.size(), std::size(all) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Status, MacrosPassErrorsUp) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "expected an even number, found 3");
  EXPECT_TRUE(CheckEven(2).ok());
  EXPECT_EQ(CheckEven(5).code(), StatusCode::kInvalidArgument);
}

TEST(Result, HoldsWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(5);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(**made, 5);
  const std::unique_ptr<int> taken = *std::move(made);
  EXPECT_EQ(*taken, 5);
}

TEST(ResultDeathTest, MisuseEndsTheProgramWithTheReason) {
  EXPECT_DEATH((void)Half(3).value(), "expected an even number, found 3");
  EXPECT_DEATH((void)Result<int>(Status::Ok()), "needs an error");
  EXPECT_DEATH((void)Status(StatusCode::kOk, "fine"), "carries no message");
}

TEST(CheckDeathTest, SaysPlaceConditionAndMessage) {
  const int n = -1;
  EXPECT_DEATH(NOSA_CHECK(n > 0, "n is {}", n), "status_test.cc:[0-9]+: check failed: n > 0: n is -1");
}

}  // namespace
}  // namespace nosa

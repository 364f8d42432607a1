#include "base/function_ref.h"

#include <gtest/gtest.h>

#include <memory>

namespace nosa {
namespace {

int Call(FunctionRef<int(int)> f, int x) { return f(x); }

struct Doubler {
  int calls = 0;
  int operator()(int x) {
    ++calls;
    return 2 * x;
  }
};

TEST(FunctionRef, CallsTheObjectItself) {
  Doubler doubler;
  EXPECT_EQ(Call(doubler, 4), 8);
  EXPECT_EQ(doubler.calls, 1);
  const auto add = [&](int x) { return x + doubler.calls; };  // a const callable
  EXPECT_EQ(Call(add, 4), 5);
  EXPECT_EQ(Call([](int x) { return x; }, 3), 3);
}

TEST(FunctionRef, ACopyRefersToTheCallableNotToTheReference) {
  const auto twice = [](int x) { return 2 * x; };
  FunctionRef<int(int)> first = twice;
  const FunctionRef<int(int)> second = first;
  first = [](int) { return -1; };
  EXPECT_EQ(second(3), 6);
}

TEST(FunctionRef, DropsAResultThatIsNotAskedFor) {
  int seen = 0;
  const auto returns = [&](int x) { return seen = x; };
  FunctionRef<void(int)>{returns}(9);
  EXPECT_EQ(seen, 9);
}

TEST(FunctionRef, PassesReferencesAndMoveOnlyArguments) {
  const auto fill = [](int& out, std::unique_ptr<int> from) { out = *from; };
  int out = 0;
  FunctionRef<void(int&, std::unique_ptr<int>)>{fill}(out, std::make_unique<int>(7));
  EXPECT_EQ(out, 7);
}

}  // namespace
}  // namespace nosa

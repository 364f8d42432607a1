// 64 requests of 100 to 20,000 tokens.
#include "tests/service/company.h"

namespace nosa::engine {
namespace {

TEST(CompanyTest, SixtyFourMixedRequestsInAQuarterOfTheirKv) { ExpectTogetherAsAlone(Company(64, 100, 20000, 24)); }

}  // namespace
}  // namespace nosa::engine

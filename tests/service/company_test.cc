// A small company in the ordinary suite; the large one in company_slow_test.cc.
#include "tests/service/company.h"

namespace nosa::engine {
namespace {

TEST(CompanyTest, TwelveMixedRequestsInAQuarterOfTheirKv) { ExpectTogetherAsAlone(Company(12, 100, 1500, 12)); }

}  // namespace
}  // namespace nosa::engine

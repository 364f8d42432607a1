// The flags of `nosa train`, and what it prints.
#pragma once

#include "apps/flags.h"

namespace nosa::apps {

void DescribeTrain(Command command);

}  // namespace nosa::apps

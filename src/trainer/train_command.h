// The flags of `nosa train`, and what it prints.
#pragma once

#include "apps/flags.h"

namespace nosa::trainer {

void DescribeTrain(apps::Command command);

}  // namespace nosa::trainer

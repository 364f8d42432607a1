#include "apps/tier_rule.h"

namespace nosa::apps {

TierChoice ChooseTiers(const TierInputs& inputs) {
  TierChoice choice;
  choice.host_budget_bytes = inputs.host_budget_bytes.value_or(inputs.free_ram_bytes);
  choice.spills = inputs.all_in_ram_bytes > choice.host_budget_bytes;
  choice.disk = inputs.disk;
  if (choice.spills && !choice.disk) choice.disk = DiskPlace{inputs.temporary_directory};
  return choice;
}

}  // namespace nosa::apps

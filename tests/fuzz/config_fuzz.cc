// config.json from strangers: any bytes end in a config or a Status, never in a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "io/json.h"
#include "schema/model_config.h"
#include "schema/random_checkpoint.h"
#include "schema/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = nosa::io::ParseJson(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
  if (!json.ok()) return 0;
  const auto config = nosa::schema::ParseModelConfig(*json, "fuzz");
  if (!config.ok()) return 0;
  // What was accepted must be safe to use: sizes whose products fit, frequencies that exist, a config that
  // reads back.
  for (const auto& spec : nosa::schema::ExpectedTensors(*config)) {
    if (spec.shape.elements() <= 0) __builtin_trap();
  }
  (void)nosa::schema::RopeInverseFrequencies(config->rope, config->head_dim);
  if (!nosa::schema::ParseModelConfig(nosa::schema::ConfigToJson(*config), "fuzz").ok()) __builtin_trap();
  return 0;
}

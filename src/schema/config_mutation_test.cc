// A small deterministic fuzzer, so that every build exercises what tests/fuzz/config_fuzz.cc does at length.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "schema/random_checkpoint.h"
#include "schema/tensors.h"
#include "schema/test_configs.h"

namespace nosa::schema {
namespace {

using testing::FullJson;

// Values that have broken parsers: edges of integer types, wrong types, nesting, text that is not a name.
const std::vector<io::Json>& Odd() {
  static const std::vector<io::Json> values = {nullptr,
                                               true,
                                               false,
                                               0,
                                               1,
                                               -1,
                                               2,
                                               7,
                                               64,
                                               65536,
                                               INT32_MAX,
                                               INT64_MAX,
                                               INT64_MIN,
                                               UINT64_MAX,
                                               0.5,
                                               -0.0,
                                               1e-320,
                                               1e308,
                                               2147483648.0,
                                               "",
                                               "llama3",
                                               "linear",
                                               "yarn",
                                               "float32",
                                               "\xff\xfe",
                                               std::string(5000, 'a'),
                                               io::Json::array(),
                                               io::Json::object(),
                                               io::Json::array({io::Json::array({1})}),
                                               io::Json{{"factor", 2}},
                                               std::vector<int>(200, 1)};
  return values;
}

struct Dice {
  Philox random;
  uint64_t counter = 0;
  size_t Below(size_t n) { return random.Block(counter++)[0] % n; }
};

// Changes, removes or duplicates one random field of a random object within `json`.
void Mutate(Dice* dice, io::Json* json) {
  io::Json* object = json;
  while (true) {
    auto field = object->begin();
    std::advance(field, static_cast<std::ptrdiff_t>(dice->Below(object->size())));
    if (field->is_object() && !field->empty() && dice->Below(4) != 0) {
      object = &*field;
      continue;
    }
    switch (dice->Below(4)) {
      case 0:
        if (object->size() > 1) object->erase(field);
        return;
      case 1: (*object)["rope_parameters"] = Odd()[dice->Below(Odd().size())]; return;
      default: *field = Odd()[dice->Below(Odd().size())]; return;
    }
  }
}

TEST(ConfigMutations, EndInAConfigThatWorksOrInASentence) {
  int accepted = 0, refused = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    Dice dice{Philox(seed)};
    io::Json json = FullJson();
    for (size_t n = 1 + dice.Below(3); n > 0; --n) Mutate(&dice, &json);
    const auto config = ParseModelConfig(json, "mutated");
    if (!config.ok()) {
      ++refused;
      EXPECT_TRUE(config.status().message().starts_with("mutated: ")) << config.status().ToString();
      EXPECT_LT(config.status().message().size(), 400u) << "a message must not repeat the whole input";
      continue;
    }
    ++accepted;
    for (const TensorSpec& spec : ExpectedTensors(*config)) EXPECT_GT(spec.shape.elements(), 0) << spec.name;
    for (const float frequency : RopeInverseFrequencies(config->rope, config->head_dim)) EXPECT_GT(frequency, 0.0f);
    EXPECT_TRUE(config->sparse.Validate().ok());
    EXPECT_TRUE(ParseModelConfig(ConfigToJson(*config), "again").ok()) << json;
  }
  // Both must happen often, or the mutations test nothing.
  EXPECT_GT(accepted, 50);
  EXPECT_GT(refused, 200);
}

}  // namespace
}  // namespace nosa::schema

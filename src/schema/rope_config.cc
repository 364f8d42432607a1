#include <cmath>
#include <numbers>

#include "schema/config_parts.h"
#include "schema/tensors.h"

namespace nosa::schema {
namespace {

using internal::Fields;

constexpr double kMostTheta = 1e12;  // published models reach 1e7; float32 holds the frequencies well below
constexpr double kMostFactor = 1e6;

// Fills the scaling of `rope` from an object that names its kind under rope_type or, in older files, type.
Status ParseScaling(const Fields& scaling, RopeConfig* rope) {
  NOSA_ASSIGN_OR_RETURN(const std::string older, scaling.StringOr("type", "default"));
  NOSA_ASSIGN_OR_RETURN(const std::string kind, scaling.StringOr("rope_type", older));
  NOSA_ASSIGN_OR_RETURN(const double partial, scaling.NumberOr("partial_rotary_factor", 1.0, 0.0, 1.0));
  if (partial != 1.0) {
    return Unimplemented("{}: partial_rotary_factor is {}, only rotation of the whole head is implemented",
                         scaling.where(), partial);
  }
  if (kind == "default") return Status::Ok();
  if (kind != "linear" && kind != "llama3") {
    return Unimplemented("{}: rope scaling \"{}\" is not implemented, only default, linear and llama3", scaling.where(),
                         kind);
  }
  NOSA_ASSIGN_OR_RETURN(rope->factor, scaling.Number("factor", 1.0, kMostFactor));
  if (kind == "linear") {
    rope->scaling = RopeConfig::Scaling::kLinear;
    return Status::Ok();
  }
  rope->scaling = RopeConfig::Scaling::kLlama3;
  NOSA_ASSIGN_OR_RETURN(rope->low_freq_factor, scaling.Number("low_freq_factor", 1e-6, kMostFactor));
  NOSA_ASSIGN_OR_RETURN(rope->high_freq_factor, scaling.Number("high_freq_factor", 1e-6, kMostFactor));
  NOSA_ASSIGN_OR_RETURN(rope->original_max_position, scaling.Int("original_max_position_embeddings", 1, INT32_MAX));
  if (rope->high_freq_factor <= rope->low_freq_factor) {
    return InvalidArgument("{}: expected high_freq_factor above low_freq_factor, found {} and {}", scaling.where(),
                           rope->high_freq_factor, rope->low_freq_factor);
  }
  return Status::Ok();
}

// Llama 3.1: frequencies of waves longer than the original context are divided by the factor, those of
// short waves stay, between the two is a ramp. float32 throughout, as Hugging Face computes it.
float Llama3Frequency(const RopeConfig& rope, float frequency) {
  const float factor = static_cast<float>(rope.factor);
  const float low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
  const float context = static_cast<float>(rope.original_max_position);
  const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / frequency;
  if (wavelength < context / high) return frequency;
  if (wavelength > context / low) return frequency / factor;
  const float smooth = (context / wavelength - low) / (high - low);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

Result<RopeConfig> internal::ParseRope(const Fields& config) {
  RopeConfig rope;
  NOSA_ASSIGN_OR_RETURN(rope.theta, config.NumberOr("rope_theta", rope.theta, 1.0, kMostTheta));
  const char* key = config.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!config.Has(key)) return rope;
  NOSA_ASSIGN_OR_RETURN(const Fields scaling, Fields::Of(config.At(key), config.where() + ": " + key));
  NOSA_ASSIGN_OR_RETURN(rope.theta, scaling.NumberOr("rope_theta", rope.theta, 1.0, kMostTheta));
  NOSA_RETURN_IF_ERROR(ParseScaling(scaling, &rope));
  return rope;
}

std::vector<float> RopeInverseFrequencies(const RopeConfig& rope, int head_dim) {
  std::vector<float> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    float frequency = 1.0f / std::pow(static_cast<float>(rope.theta), exponent);
    switch (rope.scaling) {
      case RopeConfig::Scaling::kNone: break;
      case RopeConfig::Scaling::kLinear: frequency /= static_cast<float>(rope.factor); break;
      case RopeConfig::Scaling::kLlama3: frequency = Llama3Frequency(rope, frequency); break;
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

}  // namespace nosa::schema

#include "reference_weights.h"

#include <cmath>
#include <numbers>

#include "reference_model.h"
#include "schema/tensors.h"

namespace nosa::reference {
namespace {

std::vector<double> Doubles(ConstTensorView tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.shape().elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = LoadFloat(tensor.bytes(), tensor.dtype(), i);
  return values;
}

// Two inputs against one panel: 2 x kPanel sums, which fit the registers of the baseline instruction set.
void TwoRows(const double* panel, int in, const double* x0, const double* x1, double (&y0)[Linear::kPanel],
             double (&y1)[Linear::kPanel]) {
  double a[Linear::kPanel] = {}, b[Linear::kPanel] = {};
  for (int i = 0; i < in; ++i, panel += Linear::kPanel) {
    for (int j = 0; j < Linear::kPanel; ++j) {
      a[j] += x0[i] * panel[j];
      b[j] += x1[i] * panel[j];
    }
  }
  for (int j = 0; j < Linear::kPanel; ++j) {
    y0[j] = a[j];
    y1[j] = b[j];
  }
}

Result<LayerWeights> LoadLayer(const io::Safetensors& file, const schema::ModelConfig& config, int layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  // Names and shapes were validated, so a missing tensor here is a bug and value() may end the program.
  const auto get = [&](const char* name) { return file.Get(prefix + name).value(); };
  LayerWeights w;
  w.attention_norm = Doubles(get("input_layernorm.weight"));
  w.mlp_norm = Doubles(get("post_attention_layernorm.weight"));
  w.q = Linear(get("self_attn.q_proj.weight"));
  w.k = Linear(get("self_attn.k_proj.weight"));
  w.v = Linear(get("self_attn.v_proj.weight"));
  w.o = Linear(get("self_attn.o_proj.weight"));
  w.gate = Linear(get("mlp.gate_proj.weight"));
  w.up = Linear(get("mlp.up_proj.weight"));
  w.down = Linear(get("mlp.down_proj.weight"));
  if (config.has_importance) {
    w.delta = Doubles(get("self_attn.delta.weight"));
    w.a = Doubles(get("self_attn.A"));
  }
  return w;
}

}  // namespace

Linear::Linear(ConstTensorView matrix) : in_(static_cast<int>(matrix.dim(1))), out_(static_cast<int>(matrix.dim(0))) {
  const size_t in = static_cast<size_t>(in_), out = static_cast<size_t>(out_);
  panels_.assign((out + kPanel - 1) / kPanel * kPanel * in, 0.0);
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) {
      panels_[(o / kPanel * in + i) * kPanel + o % kPanel] = LoadFloat(matrix.bytes(), matrix.dtype(), o * in + i);
    }
  }
}

void Linear::Apply(const double* x, int n, double* y) const {
  const ptrdiff_t in = in_, out = out_;
  double y0[kPanel], y1[kPanel];
  for (ptrdiff_t o = 0; o < out; o += kPanel) {
    const double* panel = panels_.data() + o * in;
    const ptrdiff_t width = std::min<ptrdiff_t>(kPanel, out - o);
    for (ptrdiff_t t = 0; t < n; t += 2) {
      const ptrdiff_t second = std::min<ptrdiff_t>(t + 1, n - 1);  // an odd last row is computed twice
      TwoRows(panel, in_, x + t * in, x + second * in, y0, y1);
      std::copy(y0, y0 + width, y + t * out + o);
      if (second != t) std::copy(y1, y1 + width, y + second * out + o);
    }
  }
}

std::vector<float> InverseFrequencies(const schema::RopeConfig& rope, int head_dim) {
  std::vector<float> frequencies;
  for (int i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    float f = 1.0f / std::pow(static_cast<float>(rope.theta), exponent);
    if (rope.scaling == schema::RopeConfig::Scaling::kLinear) f /= static_cast<float>(rope.factor);
    if (rope.scaling == schema::RopeConfig::Scaling::kLlama3) {
      const double wave = 2.0 * std::numbers::pi / f, context = static_cast<double>(rope.original_max_position);
      const double ramp = (context / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      const double keep = std::min(1.0, std::max(0.0, ramp));
      f = static_cast<float>(f * (keep + (1.0 - keep) / rope.factor));
    }
    frequencies.push_back(f);
  }
  return frequencies;
}

Result<std::shared_ptr<const Weights>> LoadWeights(const std::filesystem::path& directory) {
  NOSA_ASSIGN_OR_RETURN(schema::ModelConfig config, schema::ReadModelConfig(directory));
  NOSA_ASSIGN_OR_RETURN(const std::shared_ptr<const io::Safetensors> file, io::Safetensors::OpenDirectory(directory));
  NOSA_RETURN_IF_ERROR(schema::ValidateTensors(*file, &config));
  auto weights = std::make_shared<Weights>();
  weights->config = config;
  NOSA_ASSIGN_OR_RETURN(const ConstTensorView embedding, file->Get("model.embed_tokens.weight"));
  weights->embedding = Doubles(embedding);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    NOSA_ASSIGN_OR_RETURN(LayerWeights loaded, LoadLayer(*file, config, layer));
    weights->layers.push_back(std::move(loaded));
  }
  NOSA_ASSIGN_OR_RETURN(const ConstTensorView norm, file->Get("model.norm.weight"));
  weights->final_norm = Doubles(norm);
  if (config.tie_embeddings) {
    weights->head = Linear(embedding);
  } else {
    NOSA_ASSIGN_OR_RETURN(const ConstTensorView head, file->Get("lm_head.weight"));
    weights->head = Linear(head);
  }
  weights->inverse_frequency = InverseFrequencies(config.rope, config.head_dim);
  return std::shared_ptr<const Weights>(std::move(weights));
}

const schema::ModelConfig& ConfigOf(const Weights& weights) { return weights.config; }

}  // namespace nosa::reference

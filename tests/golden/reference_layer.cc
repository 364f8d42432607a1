#include "reference_layer.h"

#include <algorithm>
#include <cmath>

namespace nosa::reference {
namespace {

// Four sums at once: a chain of one would wait for each addition.
double Dot(const double* a, const double* b, int n) {
  double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 += a[i] * b[i];
    s1 += a[i + 1] * b[i + 1];
    s2 += a[i + 2] * b[i + 2];
    s3 += a[i + 3] * b[i + 3];
  }
  for (; i < n; ++i) s0 += a[i] * b[i];
  return (s0 + s1) + (s2 + s3);
}

// rotate_half: element i of the first half pairs with element i of the second.
void Rotate(const std::vector<float>& inverse_frequency, TokenPos t, int heads, double* x) {
  const size_t half = inverse_frequency.size();
  for (size_t i = 0; i < half; ++i) {
    // The angle is a float32 product in the code the models were trained with; the rest is exact enough.
    const float angle = static_cast<float>(t) * inverse_frequency[i];
    const double cosine = std::cos(static_cast<double>(angle)), sine = std::sin(static_cast<double>(angle));
    for (size_t h = 0; h < static_cast<size_t>(heads); ++h) {
      double* head = x + h * 2 * half;
      const double low = head[i], high = head[i + half];
      head[i] = low * cosine - high * sine;
      head[i + half] = high * cosine + low * sine;
    }
  }
}

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

// s[t, g] = A[g] softplus(delta[g] . v_t over all KV heads), for rows [n, G * D] of v.
void AppendImportance(const LayerWeights& w, const double* v, int n, LayerCache* cache) {
  const size_t groups = w.a.size();
  if (groups == 0) return;
  const size_t width = w.delta.size() / groups;
  for (int row = 0; row < n; ++row) {
    for (size_t g = 0; g < groups; ++g) {
      const double projected =
          Dot(w.delta.data() + g * width, v + static_cast<size_t>(row) * width, static_cast<int>(width));
      cache->s.push_back(w.a[g] * Softplus(projected));
    }
  }
}

// Means over every window that has become complete with `tokens` cached.
void AppendWindows(const schema::SparseConfig& sparse, size_t groups, size_t dim, size_t tokens, LayerCache* cache) {
  const size_t row = groups * dim, kernel = static_cast<size_t>(sparse.kernel_size);
  while (true) {
    const size_t begin = cache->c.size() / row * static_cast<size_t>(sparse.kernel_stride);
    if (begin + kernel > tokens) return;
    const auto mean = [&](const std::vector<double>& from, size_t width, std::vector<double>* to) {
      for (size_t i = 0; i < width; ++i) {
        double sum = 0.0;
        for (size_t t = begin; t < begin + kernel; ++t) sum += from[t * width + i];
        to->push_back(sum / static_cast<double>(kernel));
      }
    };
    if (!cache->s.empty()) mean(cache->s, groups, &cache->sigma);
    mean(cache->k, row, &cache->c);
  }
}

// One query head over the chosen tokens: out [D] is overwritten. `bias` at stride `groups`, or null.
void AttendHead(const double* q, const double* k, const double* v, const double* bias, size_t groups, size_t dim,
                const std::vector<int>& tokens, std::vector<double>* weights, double* out) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  weights->resize(tokens.size());
  double top = -INFINITY;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const size_t j = static_cast<size_t>(tokens[i]);
    const double logit = Dot(q, k + j * groups * dim, static_cast<int>(dim)) * scale;
    (*weights)[i] = logit + (bias == nullptr ? 0.0 : bias[j * groups]);
    top = std::max(top, (*weights)[i]);
  }
  double total = 0.0;
  for (double& w : *weights) total += w = std::exp(w - top);
  std::fill(out, out + dim, 0.0);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const double* row = v + static_cast<size_t>(tokens[i]) * groups * dim;
    const double w = (*weights)[i];
    for (size_t d = 0; d < dim; ++d) out[d] += w * row[d];
  }
  for (size_t d = 0; d < dim; ++d) out[d] /= total;
}

// Positions j <= t of the chosen blocks.
void ListTokens(const std::vector<uint8_t>& selected, int block_size, TokenPos t, std::vector<int>* tokens) {
  tokens->clear();
  for (size_t b = 0; b < selected.size(); ++b) {
    if (selected[b] == 0) continue;
    const int begin = static_cast<int>(b) * block_size;
    for (int j = begin; j < begin + block_size && j <= t; ++j) tokens->push_back(j);
  }
}

struct AttentionRow {
  TokenPos t;
  const double* q;  // [H, D]
  double* out;      // [H, D]
};

Choice Choose(const Weights& weights, const LayerSettings& settings, bool every_block, const LayerCache& cache,
              const AttentionRow& row, int g) {
  const schema::ModelConfig& config = weights.config;
  SelectionInput in;
  in.mode = every_block ? Mode::kFull : settings.mode;
  in.sparse = settings.sparse;
  in.t = row.t;
  in.group = config.group_size();
  in.head_dim = config.head_dim;
  in.q = row.q + static_cast<ptrdiff_t>(g) * in.group * in.head_dim;
  in.c = cache.c.data() + static_cast<ptrdiff_t>(g) * in.head_dim;
  in.c_stride = static_cast<size_t>(config.num_kv_heads) * static_cast<size_t>(config.head_dim);
  in.sigma = cache.sigma.data() + g;
  in.sigma_stride = static_cast<size_t>(config.num_kv_heads);
  return SelectBlocks(in);
}

void AttendGroup(const Weights& weights, const LayerSettings& settings, const LayerCache& cache,
                 const AttentionRow& row, int g, const Choice& choice) {
  const schema::ModelConfig& config = weights.config;
  const size_t dim = static_cast<size_t>(config.head_dim), groups = static_cast<size_t>(config.num_kv_heads);
  const bool biased = settings.mode == Mode::kNosa || settings.mode == Mode::kDma;
  std::vector<int> tokens;
  std::vector<double> scratch;
  ListTokens(choice.selected, settings.sparse.block_size, row.t, &tokens);
  const size_t head = static_cast<size_t>(g);
  for (int h = g * config.group_size(); h < (g + 1) * config.group_size(); ++h) {
    const size_t at = static_cast<size_t>(h) * dim;
    AttendHead(row.q + at, cache.k.data() + head * dim, cache.v.data() + head * dim,
               biased ? cache.s.data() + head : nullptr, groups, dim, tokens, &scratch, row.out + at);
  }
}

void AddTo(const std::vector<double>& delta, double* x) {
  for (size_t i = 0; i < delta.size(); ++i) x[i] += delta[i];
}

void RunMlp(const Weights& weights, const LayerWeights& w, int n, double* x) {
  const size_t rows = static_cast<size_t>(n), hidden = w.mlp_norm.size(), inner = static_cast<size_t>(w.gate.out());
  std::vector<double> normed(rows * hidden), gate(rows * inner), up(rows * inner);
  RmsNorm(x, n, w.mlp_norm, weights.config.rms_norm_eps, normed.data());
  w.gate.Apply(normed.data(), n, gate.data());
  w.up.Apply(normed.data(), n, up.data());
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1.0 + std::exp(-gate[i])) * up[i];
  w.down.Apply(gate.data(), n, normed.data());
  AddTo(normed, x);
}

}  // namespace

void RmsNorm(const double* x, int n, const std::vector<double>& weight, double eps, double* out) {
  const size_t width = weight.size();
  for (int row = 0; row < n; ++row, x += width, out += width) {
    const double scale = 1.0 / std::sqrt(Dot(x, x, static_cast<int>(width)) / static_cast<double>(width) + eps);
    for (size_t i = 0; i < width; ++i) out[i] = x[i] * scale * weight[i];
  }
}

void RunLayer(const Weights& weights, int layer, const LayerSettings& settings, TokenPos first, int n, bool every_block,
              LayerCache* cache, double* x, OnChoice on_choice) {
  const schema::ModelConfig& config = weights.config;
  const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
  const size_t rows = static_cast<size_t>(n), hidden = w.attention_norm.size();
  const size_t q_width = static_cast<size_t>(w.q.out()), kv_width = static_cast<size_t>(w.k.out());
  std::vector<double> normed(rows * hidden), q(rows * q_width), k(rows * kv_width), v(rows * kv_width);
  RmsNorm(x, n, w.attention_norm, config.rms_norm_eps, normed.data());
  w.q.Apply(normed.data(), n, q.data());
  w.k.Apply(normed.data(), n, k.data());
  w.v.Apply(normed.data(), n, v.data());
  for (size_t r = 0; r < rows; ++r) {
    const TokenPos t = first + static_cast<TokenPos>(r);
    Rotate(weights.inverse_frequency, t, config.num_heads, q.data() + r * q_width);
    Rotate(weights.inverse_frequency, t, config.num_kv_heads, k.data() + r * kv_width);
  }
  cache->k.insert(cache->k.end(), k.begin(), k.end());
  cache->v.insert(cache->v.end(), v.begin(), v.end());
  AppendImportance(w, v.data(), n, cache);
  AppendWindows(settings.sparse, static_cast<size_t>(config.num_kv_heads), static_cast<size_t>(config.head_dim),
                static_cast<size_t>(first) + rows, cache);

  // Later rows are cached already; each row reads only positions and windows up to its own.
  std::vector<double> attended(rows * q_width);
  for (int r = 0; r < n; ++r) {
    const size_t at = static_cast<size_t>(r) * q_width;
    const AttentionRow row = {first + r, q.data() + at, attended.data() + at};
    for (int g = 0; g < config.num_kv_heads; ++g) {
      const Choice choice = Choose(weights, settings, every_block, *cache, row, g);
      on_choice(r, g, choice);
      AttendGroup(weights, settings, *cache, row, g, choice);
    }
  }
  w.o.Apply(attended.data(), n, normed.data());
  AddTo(normed, x);
  RunMlp(weights, w, n, x);
}

}  // namespace nosa::reference

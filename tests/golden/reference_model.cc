#include "reference_model.h"

#include <algorithm>
#include <cmath>

#include "reference_layer.h"
#include "reference_weights.h"

namespace nosa::reference {
namespace {

// Tokens that go through a layer together: only to read the weights from memory less often.
constexpr int kChunk = 32;

// -log softmax(logits)[target].
double Loss(std::span<const double> logits, TokenId target) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (const double x : logits) total += std::exp(x - top);
  return top + std::log(total) - logits[static_cast<size_t>(target)];
}

}  // namespace

double Selection::SmallestGap() const {
  double smallest = INFINITY;
  for (const auto* boundaries : {&query, &importance}) {
    for (const Boundary& b : *boundaries) {
      // A score of 0 has underflowed: whatever lies below is a tie.
      smallest = std::min(smallest, b.score == 0.0 && b.gap == 0.0 ? 0.0 : b.gap / std::max(std::abs(b.score), 1e-300));
    }
  }
  return smallest;
}

struct Session::Impl {
  std::shared_ptr<const Weights> weights;
  LayerSettings settings;
  std::vector<LayerCache> layers;
  TokenPos length = 0;
  std::vector<double> last_logits;  // [vocab]; of the last position, once appended to

  Selection EmptySelection(TokenPos t) const {
    const schema::ModelConfig& config = weights->config;
    Selection selection;
    selection.position = t;
    selection.blocks = t / settings.sparse.block_size + 1;
    const size_t heads = static_cast<size_t>(config.num_layers) * static_cast<size_t>(config.num_kv_heads);
    selection.selected.assign(heads * static_cast<size_t>(selection.blocks), 0);
    selection.query.resize(heads);
    selection.importance.resize(heads);
    return selection;
  }

  // Runs all layers over one chunk; x [n, hidden] becomes the last residual stream.
  void RunLayers(std::span<const TokenId> tokens, bool every_block, std::span<Selection> selections, double* x) {
    const schema::ModelConfig& config = weights->config;
    const size_t hidden = static_cast<size_t>(config.hidden_size);
    const int n = static_cast<int>(tokens.size()), untold = n - static_cast<int>(selections.size());
    for (size_t r = 0; r < tokens.size(); ++r) {
      NOSA_CHECK(tokens[r] >= 0 && tokens[r] < config.vocab_size, "token {} of {}", tokens[r], config.vocab_size);
      std::copy_n(weights->embedding.data() + static_cast<size_t>(tokens[r]) * hidden, hidden, x + r * hidden);
    }
    for (int layer = 0; layer < config.num_layers; ++layer) {
      const auto on_choice = [&](int row, int g, const Choice& choice) {
        if (row < untold) return;
        Selection& to = selections[static_cast<size_t>(row - untold)];
        const size_t head = static_cast<size_t>(layer * config.num_kv_heads + g);
        std::copy(choice.selected.begin(), choice.selected.end(),
                  to.selected.begin() + static_cast<ptrdiff_t>(head) * to.blocks);
        to.query[head] = choice.query;
        to.importance[head] = choice.importance;
      };
      RunLayer(*weights, layer, settings, length, n, every_block, &layers[static_cast<size_t>(layer)], x, on_choice);
    }
    length += n;
  }

  // Logits [rows, vocab] of the last `rows` of the n rows of x.
  std::vector<double> Logits(const double* x, int n, int rows) const {
    const size_t hidden = weights->final_norm.size();
    std::vector<double> normed(static_cast<size_t>(rows) * hidden);
    RmsNorm(x + static_cast<size_t>(n - rows) * hidden, rows, weights->final_norm, weights->config.rms_norm_eps,
            normed.data());
    std::vector<double> logits(static_cast<size_t>(rows) * static_cast<size_t>(weights->config.vocab_size));
    weights->head.Apply(normed.data(), rows, logits.data());
    return logits;
  }

  // Rows [begin, end) of the tokens of one Append.
  struct Chunk {
    std::span<const TokenId> tokens;
    int begin, end;
  };

  // Runs the LM head on the rows of the chunk that the request needs; sums the loss into output->mean_loss.
  void Finish(const Chunk& chunk, const Request& request, const double* x, Output* output) {
    const int total = static_cast<int>(chunk.tokens.size()), n = chunk.end - chunk.begin;
    const int first_logits = total - std::min(request.logits_last, total);
    const int last = chunk.end == total ? 1 : 0;  // kept for Continue, asked for or not
    const int wanted = request.loss ? n : std::max(last, chunk.end - std::max(chunk.begin, first_logits));
    if (wanted <= 0) return;
    const std::vector<double> logits = Logits(x, n, wanted);
    const size_t vocab = logits.size() / static_cast<size_t>(wanted);
    for (int i = 0; i < wanted; ++i) {
      const int row = chunk.end - wanted + i;
      const std::span<const double> at = std::span(logits).subspan(static_cast<size_t>(i) * vocab, vocab);
      if (row >= first_logits) output->logits.insert(output->logits.end(), at.begin(), at.end());
      if (request.loss && row + 1 < total) output->mean_loss += Loss(at, chunk.tokens[static_cast<size_t>(row) + 1]);
      if (row + 1 == total) last_logits.assign(at.begin(), at.end());
    }
  }
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

TokenPos Session::length() const { return impl_->length; }

Result<Session> Session::Create(std::shared_ptr<const Weights> weights, const Options& options) {
  const schema::ModelConfig& config = weights->config;
  if ((options.mode == Mode::kNosa || options.mode == Mode::kDma) && !config.has_importance) {
    return FailedPrecondition("expected a checkpoint with importance tensors, found {} without them",
                              config.architecture);
  }
  auto impl = std::make_unique<Impl>();
  impl->settings = {options.mode, config.sparse};
  if (options.topk > 0) impl->settings.sparse.topk = options.topk;
  if (options.query_topk > 0) impl->settings.sparse.query_topk = options.query_topk;
  NOSA_RETURN_IF_ERROR(impl->settings.sparse.Validate());
  impl->layers.resize(weights->layers.size());
  impl->weights = std::move(weights);
  return Session(std::move(impl));
}

Output Session::Append(std::span<const TokenId> tokens, const Request& request) {
  Output output;
  const int total = static_cast<int>(tokens.size());
  const int first_told = total - std::min(request.selection_last, total);
  for (int i = first_told; i < total; ++i) output.selections.push_back(impl_->EmptySelection(impl_->length + i));
  std::vector<double> x(static_cast<size_t>(kChunk) * static_cast<size_t>(impl_->weights->config.hidden_size));
  for (int begin = 0; begin < total; begin += kChunk) {
    const int end = std::min(begin + kChunk, total);
    const int told = std::max(begin, first_told);  // first row of this chunk whose selection is wanted
    std::span<Selection> selections;
    if (told < end) {
      selections =
          std::span(output.selections).subspan(static_cast<size_t>(told - first_told), static_cast<size_t>(end - told));
    }
    impl_->RunLayers(tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), request.every_block,
                     selections, x.data());
    impl_->Finish({tokens, begin, end}, request, x.data(), &output);
  }
  if (total > 1) output.mean_loss /= total - 1;
  return output;
}

Greedy Session::Continue(int count) {
  NOSA_CHECK(!impl_->last_logits.empty(), "a continuation needs a token before it");
  Greedy greedy;
  while (true) {
    std::vector<double> logits = impl_->last_logits;
    const auto best = std::max_element(logits.begin(), logits.end());  // the first of equals
    const TokenId token = static_cast<TokenId>(best - logits.begin());
    const double top = *best;
    *best = -INFINITY;
    greedy.tokens.push_back(token);
    greedy.margin.push_back(top - *std::max_element(logits.begin(), logits.end()));
    if (static_cast<int>(greedy.tokens.size()) >= count) return greedy;
    Append(std::span(&token, 1), {});
  }
}

}  // namespace nosa::reference

#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>

#include "eval/run.h"

namespace nosa::eval {
namespace {

// Sums of losses as they come, by bucket.
class LossSums {
 public:
  explicit LossSums(int bucket) : bucket_(bucket) {}

  void Add(TokenPos pos, double loss) {
    const auto i = static_cast<size_t>(pos / bucket_);
    if (i >= buckets_.size()) buckets_.resize(i + 1);
    ++buckets_[i].tokens;
    buckets_[i].loss += loss;
  }

  void Fill(PerplexityReport* report) const {
    for (size_t i = 0; i < buckets_.size(); ++i) {
      report->tokens += buckets_[i].tokens;
      report->loss += buckets_[i].loss;
      report->buckets.push_back(
          {static_cast<TokenPos>(i) * bucket_, buckets_[i].tokens, buckets_[i].loss / buckets_[i].tokens});
    }
    report->loss /= report->tokens;
  }

 private:
  int bucket_;
  std::vector<LossBucket> buckets_;  // loss: the sum
};

void Score(const engine::Event& event, std::span<const TokenId> ids, LossSums* sums) {
  const auto vocab = static_cast<size_t>(event.logits.RowElements());
  for (int64_t r = 0; r < event.logits.rows(); ++r) {
    const auto pos = static_cast<size_t>(event.first_pos + r);
    if (pos + 1 >= ids.size()) return;  // nothing comes after the last token
    sums->Add(static_cast<TokenPos>(pos), NextTokenLoss({event.logits.row<float>(r), vocab}, ids[pos + 1]));
  }
}

}  // namespace

double NextTokenLoss(std::span<const float> logits, TokenId token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum) - logits[static_cast<size_t>(token)];
}

Result<PerplexityReport> MeasurePerplexity(engine::Engine& engine, std::span<const TokenId> ids, int bucket,
                                           ReadProgress progress) {
  if (ids.size() < 2) return InvalidArgument("expected at least 2 tokens to score, found {}", ids.size());
  if (bucket <= 0) return InvalidArgument("expected at least 1 position a bucket, found {}", bucket);
  engine::Request request;
  request.prompt.assign(ids.begin(), ids.end());
  request.max_tokens = 0;
  request.prompt_logits = static_cast<int>(ids.size());
  LossSums sums(bucket);
  NOSA_ASSIGN_OR_RETURN(const engine::RequestId id, engine.Submit(std::move(request)));
  const Status run = RunToEnd(engine, id, [&](const engine::Event& event) {
    if (event.kind == engine::Event::Kind::kPromptLogits) Score(event, ids, &sums);
    return event.kind != engine::Event::Kind::kPromptProgress || progress(event.prompt_done, event.prompt_tokens);
  });
  PerplexityReport report;
  report.prefill_tokens = engine.result(id).prefill_tokens;
  report.prefill_seconds = engine.result(id).prefill_seconds;
  report.stats = engine.stats();
  if (engine.result(id).reason != engine::FinishReason::kNone) engine.Release(id);
  NOSA_RETURN_IF_ERROR(run);
  sums.Fill(&report);
  return report;
}

}  // namespace nosa::eval

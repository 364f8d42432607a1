// Decode equals prefill: tokens that came one at a time select the same blocks and give the same logits as one reading
// of the whole text. This is what fails when summaries are not extended during generation.
#include <algorithm>
#include <cmath>

#include "io/safetensors.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

struct DecodePrefillCase {
  std::string backend;
  int generated;
};

class DecodeEqualsPrefill : public testing::TestWithParam<DecodePrefillCase> {};

TEST_P(DecodeEqualsPrefill, SameBlocksAndLogits) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  const int generated = GetParam().generated;
  const auto goldens = *io::Safetensors::OpenFile(DemoModel() + "/goldens.safetensors");
  const ConstTensorView view = *goldens->Get("2500.prompt");
  std::vector<TokenId> tokens(view.row<TokenId>(0), view.row<TokenId>(0) + view.shape().elements());
  const int prompt = static_cast<int>(tokens.size());

  const auto backend = MakeBackend(GetParam().backend, 2);
  const auto model = *model::Model::Load(DemoModel(), {.dtype = DType::kF32, .backend = backend.get()});
  auto store = *kv::KvStore::Create({.layout = model->block_layout(), .max_append_tokens = 4096}, backend.get());
  auto runner = *model::Runner::Create(model, {}, store.get(), backend.get());
  const int vocab = model->config().vocab_size;
  const size_t bytes = static_cast<size_t>(generated) * static_cast<size_t>(vocab) * sizeof(float);
  const Buffer logits_buffer = *backend->Allocate(bytes, backend->shared_memory());
  const auto logits = [&](int rows) { return TensorView(logits_buffer.data(), DType::kF32, {rows, vocab}); };

  // One at a time.
  const SeqId stepped = *store->Open(model->SequenceNeeds(prompt + generated));
  model::PassRows rows = {stepped, tokens};
  ASSERT_TRUE(runner->Forward({&rows, 1}, true, logits(1)).ok());
  std::vector<std::vector<float>> step_logits;
  std::vector<model::SelectionRecord> step_selections;
  for (int i = 0; i < generated; ++i) {
    const float* last = logits_buffer.as<float>();
    tokens.push_back(static_cast<TokenId>(std::max_element(last, last + vocab) - last));
    rows = {stepped, {tokens.data() + tokens.size() - 1, 1}};
    ASSERT_TRUE(runner->Forward({&rows, 1}, false, logits(1), &step_selections.emplace_back()).ok());
    step_logits.emplace_back(logits_buffer.as<float>(), logits_buffer.as<float>() + vocab);
  }

  // All at once.
  const SeqId whole = *store->Open(model->SequenceNeeds(prompt + generated));
  rows = {whole, tokens};
  model::SelectionRecord record;
  ASSERT_TRUE(runner->Forward({&rows, 1}, true, logits(generated), &record).ok());

  double worst = 0;
  int different = 0, compared = 0;
  for (int i = 0; i < generated; ++i) {
    const float* expected = logits_buffer.as<float>() + static_cast<size_t>(i) * static_cast<size_t>(vocab);
    for (int t = 0; t < vocab; ++t)
      worst =
          std::max<double>(worst, std::abs(expected[t] - step_logits[static_cast<size_t>(i)][static_cast<size_t>(t)]));
    for (size_t layer = 0; layer < record.layers.size(); ++layer) {
      for (int g = 0; g < record.layers[layer].kv_heads(); ++g, ++compared) {
        const auto a = record.layers[layer].Mask(prompt + i, g);
        const auto b = step_selections[static_cast<size_t>(i)].layers[layer].Mask(0, g);
        for (size_t w = 0; w < a.size(); ++w) {
          if (a[w] != (w < b.size() ? b[w] : 0)) {
            ++different;
            break;
          }
        }
      }
    }
  }
  std::printf("%d selections compared, %d different; largest logit difference %.2e\n", compared, different, worst);
  EXPECT_EQ(different, 0);
  EXPECT_LT(worst, 2e-3);
}

INSTANTIATE_TEST_SUITE_P(Backends, DecodeEqualsPrefill,
                         testing::Values(DecodePrefillCase{"cpu", 300}, DecodePrefillCase{"cuda", 100}),
                         [](const auto& info) { return info.param.backend; });

}  // namespace
}  // namespace nosa::engine

#include "train/text_source.h"

#include <atomic>
#include <bit>
#include <numeric>

#include "base/check.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "tasks/corpus.h"

namespace nosa::train {
namespace {

constexpr uint64_t kOrderStream = 0x6f7264, kPhaseStream = 0x706861;
// Files in folders; more is a data dump, and one file is one document.
constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

template <typename T>
ConstBytes BytesOf(const std::vector<T>& values) {
  return AsBytes(std::span(values.data(), values.size()));
}

uint64_t FingerprintOf(const tasks::Corpus& corpus, uint64_t tokenizer, TokenId end_token, const TextOptions& options) {
  StreamHash hash;
  const auto add = [&hash](const auto& value) { hash.Update(AsBytes(std::span(&value, 1))); };
  add(tokenizer);
  add(end_token);
  add(options.seed);
  for (const tasks::Document& document : corpus.documents) {
    add(document.text.size());
    hash.Update(AsBytes(std::span(document.text.data(), document.text.size())));
  }
  return hash.Digest();
}

std::filesystem::path CacheFile(const TextOptions& options, uint64_t fingerprint) {
  return options.cache / fmt::format("tokens-{:016x}.safetensors", fingerprint);
}

// Empty when there is none that can be read.
std::vector<int32_t> ReadCache(const std::filesystem::path& file) {
  const auto opened = io::Safetensors::OpenFile(file);
  if (!opened.ok()) return {};
  const auto tokens = (*opened)->Get("tokens");
  if (!tokens.ok() || tokens->dtype() != DType::kI32 || tokens->shape().rank() != 1) return {};
  const auto* begin = tokens->row<int32_t>(0);
  return {begin, begin + tokens->rows()};
}

Status WriteCache(const std::filesystem::path& file, const std::vector<int32_t>& tokens) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) return IoError("cannot make the directory {}: {}", file.parent_path().string(), error.message());
  io::SafetensorsWriter writer;
  writer.Add("tokens", ConstTensorView(tokens.data(), DType::kI32, {static_cast<int64_t>(tokens.size())}));
  return writer.Write(file);
}

std::vector<int32_t> Tokenize(const text::Tokenizer& tokenizer, TokenId end_token, const tasks::Corpus& corpus,
                              const TextOptions& options) {
  const size_t count = corpus.documents.size();
  std::vector<std::vector<TokenId>> ids(count);
  ThreadPool pool(options.threads);
  std::atomic<int64_t> done{0};
  const auto all = static_cast<int64_t>(corpus.bytes());
  pool.ParallelFor(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const std::string& text = corpus.documents[static_cast<size_t>(i)].text;
      ids[static_cast<size_t>(i)] =
          tokenizer.Encode(text, {.add_special_tokens = false, .parse_special_tokens = false});
      done += static_cast<int64_t>(text.size());
      if (thread == 0 && options.progress) options.progress(done, all);
    }
  });
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < count; ++i) {
    const std::vector<TokenId>& document = ids[Permuted(i, count, options.seed, 0)];
    tokens.insert(tokens.end(), document.begin(), document.end());
    if (end_token >= 0) tokens.push_back(end_token);
  }
  return tokens;
}

class TextSource final : public SequenceSource {
 public:
  TextSource(std::shared_ptr<const TokenText> text, std::string name, uint64_t seed)
      : text_(std::move(text)), name_(std::move(name)), seed_(seed) {}
  std::string_view name() const override { return name_; }
  uint64_t fingerprint() const override { return text_->fingerprint ^ text_->learn; }

  Status Check(int length) const override {
    const auto needed = static_cast<size_t>(length) + 1;
    if (text_->learnt().size() >= needed) return Status::Ok();
    return InvalidArgument("sequences of {} tokens need a text of at least {}, {} has {} to learn from", length, needed,
                           name_, text_->learnt().size());
  }

  Status Fill(uint64_t number, const Row& row) const override {
    const std::span<const int32_t> tokens = text_->learnt();
    const uint64_t window = row.ids.size() + 1;
    // Windows of one round begin at a drawn token, so that rounds cut the text at different places.
    const uint64_t windows = std::max<uint64_t>(1, tokens.size() / window - 1);
    const uint64_t round = number / windows;
    const uint64_t slack = tokens.size() - windows * window;
    const uint64_t phase = Philox(seed_, kPhaseStream).Block(round)[0] % (std::min(slack, window - 1) + 1);
    CopyWindow(tokens.subspan(phase + Permuted(number % windows, windows, seed_, round) * window, window), row);
    return Status::Ok();
  }

  Status FillHeldOut(uint64_t number, const Row& row) const override {
    const std::span<const int32_t> tokens = text_->held_out();
    const uint64_t window = row.ids.size() + 1;
    if (tokens.size() < window)
      return InvalidArgument("{} tokens of {} are held out, sequences have {}", tokens.size(), name_, window - 1);
    CopyWindow(tokens.subspan(number % (tokens.size() / window) * window, window), row);
    return Status::Ok();
  }

 private:
  static void CopyWindow(std::span<const int32_t> tokens, const Row& row) {
    for (size_t t = 0; t < row.ids.size(); ++t) {
      row.ids[t] = tokens[t];
      row.targets[t] = tokens[t + 1];
      row.weights[t] = 1;
      row.answers[t] = 0;
    }
  }

  std::shared_ptr<const TokenText> text_;
  std::string name_;
  uint64_t seed_;
};

}  // namespace

uint64_t Permuted(uint64_t i, uint64_t n, uint64_t seed, uint64_t round) {
  if (n <= 1) return 0;
  // Four rounds of a Feistel network over the next even number of bits; what falls outside [0, n) goes round again.
  const int half = (std::bit_width(n - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  const Philox random(seed, kOrderStream + round * 8);
  do {
    uint64_t left = i >> half, right = i & mask;
    for (uint64_t r = 0; r < 4; ++r) {
      const uint64_t next = left ^ (random.Block(right * 4 + r)[0] & mask);
      left = right;
      right = next;
    }
    i = left << half | right;
  } while (i >= n);
  return i;
}

Result<TokenText> TokenizeText(const text::Tokenizer& tokenizer, uint64_t tokenizer_fingerprint, TokenId end_token,
                               const TextOptions& options) {
  tasks::CorpusOptions files;
  files.max_file_bytes = kMaxFileBytes;
  NOSA_ASSIGN_OR_RETURN(const tasks::Corpus corpus, tasks::ReadCorpus(options.sources, files));
  TokenText text;
  text.fingerprint = FingerprintOf(corpus, tokenizer_fingerprint, end_token, options);
  if (!options.cache.empty()) text.tokens = ReadCache(CacheFile(options, text.fingerprint));
  if (text.tokens.empty()) {
    text.tokens = Tokenize(tokenizer, end_token, corpus, options);
    if (!options.cache.empty() && !text.tokens.empty())
      NOSA_RETURN_IF_ERROR(WriteCache(CacheFile(options, text.fingerprint), text.tokens));
  }
  const double kept = 1 - options.held_out;
  text.learn = static_cast<size_t>(static_cast<double>(text.tokens.size()) * kept);
  return text;
}

std::unique_ptr<const SequenceSource> MakeTextSource(std::shared_ptr<const TokenText> text, std::string name,
                                                     uint64_t seed) {
  return std::make_unique<TextSource>(std::move(text), std::move(name), seed);
}

}  // namespace nosa::train

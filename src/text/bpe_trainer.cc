#include "text/bpe_trainer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "text/byte_level.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace nosa::text {
namespace {

constexpr int kBytes = 256;
// Less could not hold the words of a page.
constexpr uint64_t kLeastTableBytes = kMiB;

// Llama 3's words: as GPT-2's, with contractions in any case, at most three digits, one character of any other kind
// before letters, and line ends with the punctuation before them.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// A step that only says that the vocabulary is written in the byte-level alphabet, or cuts GPT-2's words as well.
io::OrderedJson ByteLevelStep(bool gpt2_words) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", gpt2_words}};
}

io::OrderedJson PreTokenizerJson(std::string_view pattern) {
  if (pattern == "gpt2") return ByteLevelStep(true);
  const std::string expression(pattern == "llama3" ? kLlama3Pattern : pattern);
  io::OrderedJson split;
  split["type"] = "Split";
  split["pattern"]["Regex"] = expression;
  split["behavior"] = "Isolated";
  split["invert"] = false;
  io::OrderedJson sequence;
  sequence["type"] = "Sequence";
  sequence["pretokenizers"] = io::OrderedJson::array({split, ByteLevelStep(false)});
  return sequence;
}

Status CheckSpecialTokens(const std::vector<std::string>& tokens) {
  std::set<std::string_view> seen;
  for (const std::string& token : tokens) {
    if (token.empty()) return InvalidArgument("special tokens: expected a text, found an empty one");
    if (!IsWellFormedUtf8(token)) return InvalidArgument("special tokens: one is not UTF-8");
    if (!seen.insert(token).second) return InvalidArgument("special tokens: \"{}\" comes twice", token);
    // Names share one space: the byte would get the special token's id.
    const auto bytes = FromByteLevel(token);
    if (bytes && bytes->size() == 1) return InvalidArgument("special tokens: \"{}\" is the name of a byte", token);
  }
  return Status::Ok();
}

Status CheckNumbers(const BpeTrainerOptions& options) {
  const auto specials = static_cast<int64_t>(options.special_tokens.size());
  if (options.vocab_size < specials + kBytes)
    return InvalidArgument("a vocabulary of {} tokens is too small: expected at least {} ({} special tokens, {} bytes)",
                           options.vocab_size, specials + kBytes, specials, kBytes);
  if (options.vocab_size > kMaxTokenId + 1)
    return InvalidArgument("a vocabulary of {} tokens is too large: expected at most {}", options.vocab_size,
                           kMaxTokenId + 1);
  if (options.min_frequency < 0)
    return InvalidArgument("expected a frequency from 0 on, found {}", options.min_frequency);
  if (options.max_token_bytes < 0)
    return InvalidArgument("expected a token length from 0 on, found {} bytes", options.max_token_bytes);
  if (options.max_table_bytes < kLeastTableBytes)
    return InvalidArgument("a table of words of {} is too small: expected at least {}",
                           FormatByteSize(options.max_table_bytes), FormatByteSize(kLeastTableBytes));
  if (options.threads < 1) return InvalidArgument("expected at least one thread, found {}", options.threads);
  return Status::Ok();
}

// What is trained with is what will be read from the file.
Result<PreTokenizer> Cutter(const io::OrderedJson& pre_tokenizer) {
  return PreTokenizer::FromJson(io::Json(pre_tokenizer));
}

// Bytes of the well-formed beginning.
size_t WellFormedBytes(std::string_view text) {
  size_t done = 0;
  for (Utf8Step step; done < text.size(); done += step.bytes) {
    step = DecodeUtf8(text.substr(done));
    if (!step.ok) break;
  }
  return done;
}

}  // namespace

std::vector<std::string> TrainedBpe::LongestTokens(size_t count) const {
  std::vector<std::string> tokens;
  for (size_t id = special_tokens.size(); id < learned.names.size(); ++id)
    tokens.push_back(FromByteLevel(learned.names[id]).value_or(""));
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  if (tokens.size() > count) tokens.resize(count);
  return tokens;
}

BpeTrainer::BpeTrainer(const BpeTrainerOptions& options, io::OrderedJson pre_tokenizer, PreTokenizer cutter)
    : options_(options),
      pre_tokenizer_(std::move(pre_tokenizer)),
      counter_(std::move(cutter), options.max_table_bytes, options.threads) {}

Status BpeTrainer::Check(const BpeTrainerOptions& options) {
  NOSA_RETURN_IF_ERROR(CheckSpecialTokens(options.special_tokens));
  NOSA_RETURN_IF_ERROR(CheckNumbers(options));
  return Cutter(PreTokenizerJson(options.pattern)).status();
}

Result<std::unique_ptr<BpeTrainer>> BpeTrainer::Create(const BpeTrainerOptions& options) {
  NOSA_RETURN_IF_ERROR(CheckSpecialTokens(options.special_tokens));
  NOSA_RETURN_IF_ERROR(CheckNumbers(options));
  io::OrderedJson pre_tokenizer = PreTokenizerJson(options.pattern);
  NOSA_ASSIGN_OR_RETURN(PreTokenizer cutter, Cutter(pre_tokenizer));
  return std::unique_ptr<BpeTrainer>(new BpeTrainer(options, std::move(pre_tokenizer), std::move(cutter)));
}

Status BpeTrainer::Add(std::string_view text) {
  if (!IsWellFormedUtf8(text)) return InvalidArgument("expected UTF-8, found other bytes at {}", WellFormedBytes(text));
  counter_.Add(text);
  return Status::Ok();
}

Result<TrainedBpe> BpeTrainer::Train(FunctionRef<bool(int tokens)> on_progress) {
  WordTable words = counter_.Finish();
  distinct_words_ = static_cast<int64_t>(words.size());
  MergeLearner learner(std::move(words), options_.special_tokens,
                       {.vocab_size = static_cast<size_t>(options_.vocab_size),
                        .min_frequency = options_.min_frequency,
                        .max_token_bytes = static_cast<size_t>(options_.max_token_bytes)});
  NOSA_ASSIGN_OR_RETURN(LearnedTokens learned,
                        learner.Learn([&](size_t tokens) { return on_progress(static_cast<int>(tokens)); }));
  return TrainedBpe{options_.special_tokens, std::move(learned), pre_tokenizer_};
}

}  // namespace nosa::text

// nosa tokenizer train: from folders of text to a tokenizer.json.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/table.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/parallel.h"
#include "tasks/corpus.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nosa::apps {
namespace {

namespace fs = std::filesystem;

// What is held out is cut in parts of this size, so that it comes from many places.
constexpr size_t kPartBytes = 8 * kKiB;
// Of what is measured: enough for four digits, and little beside the training.
constexpr size_t kMeasuredBytes = 8 * kMiB;
constexpr size_t kShownTokens = 8;

struct TrainFlags {
  std::vector<std::string> sources;
  std::string out;
  int vocab_size = text::BpeTrainerOptions().vocab_size;
  int min_frequency = static_cast<int>(text::BpeTrainerOptions().min_frequency);
  int max_token_bytes = text::BpeTrainerOptions().max_token_bytes;
  std::vector<std::string> special;  // none: the trainer's
  std::string pattern = text::BpeTrainerOptions().pattern;
  std::optional<uint64_t> word_memory = text::BpeTrainerOptions().max_table_bytes;
  int held_out = 20;
  int threads = 0;
  bool json = false, quiet = false;

  bool silent() const { return json || quiet; }
};

text::BpeTrainerOptions OptionsOf(const TrainFlags& flags) {
  text::BpeTrainerOptions options;
  options.vocab_size = flags.vocab_size;
  options.min_frequency = flags.min_frequency;
  options.max_token_bytes = flags.max_token_bytes;
  if (!flags.special.empty()) options.special_tokens = flags.special;
  options.pattern = flags.pattern;
  options.max_table_bytes = *flags.word_memory;
  options.threads = flags.threads > 0 ? flags.threads : AvailableProcessors();
  return options;
}

// Where the tokenizer goes: a file, or a model's directory, which gets a tokenizer_config.json as well.
struct Place {
  fs::path file;
  fs::path directory;  // empty: a file alone
};

Result<Place> PlaceOf(const std::string& out) {
  std::error_code error;
  Place place = {out, {}};
  if (fs::is_directory(out, error) || place.file.extension() != ".json") {
    // "model/" is the directory "model".
    place.directory = place.file.has_filename() ? place.file : place.file.parent_path();
    place.file = place.directory / "tokenizer.json";
    // A directory that is to be made must fit where it goes.
    if (!fs::exists(place.directory, error)) {
      NOSA_RETURN_IF_ERROR(CheckOutputFile("--out", place.directory));
      return place;
    }
  }
  NOSA_RETURN_IF_ERROR(CheckOutputFile("--out", place.file));
  return place;
}

// The text in two kinds of parts, views of the corpus.
struct Texts {
  std::vector<std::string_view> training, held_out;
  int not_utf8 = 0;  // files left out for it
};

// As the corpus reader has it: what is wrong with a file that was named is an error, with one that was found leaves it
// out.
Result<Texts> Divide(const tasks::Corpus& corpus, const TrainFlags& flags) {
  Texts texts;
  int64_t parts = 0;
  for (const tasks::Document& document : corpus.documents) {
    if (!text::IsWellFormedUtf8(document.text)) {
      if (std::find(flags.sources.begin(), flags.sources.end(), document.path) != flags.sources.end())
        return InvalidArgument("expected text in UTF-8, found other bytes in {}", document.path);
      ++texts.not_utf8;
      continue;
    }
    if (flags.held_out == 0) {
      texts.training.push_back(document.text);
      continue;
    }
    for (std::string_view rest = document.text; !rest.empty(); ++parts) {
      const size_t bytes = text::PartBytes(rest, kPartBytes);
      const bool is_held_out = parts % flags.held_out == flags.held_out / 2;
      (is_held_out ? texts.held_out : texts.training).push_back(rest.substr(0, bytes));
      rest.remove_prefix(bytes);
    }
  }
  if (texts.training.empty())
    return NotFound("expected text in UTF-8, found none ({} files in other encodings)", texts.not_utf8);
  return texts;
}

uint64_t BytesOf(const std::vector<std::string_view>& texts) {
  uint64_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  return bytes;
}

struct Measured {
  bool held_out = true;  // false: there was too little text, so it is of the training text
  size_t bytes = 0, tokens = 0;
  double bytes_per_token() const { return tokens == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(tokens); }
};

// How short the tokenizer makes text, and that it gives it back.
Result<Measured> Measure(const text::Tokenizer& tokenizer, const Texts& texts) {
  Measured measured;
  measured.held_out = !texts.held_out.empty();
  for (const std::string_view text : measured.held_out ? texts.held_out : texts.training) {
    if (measured.bytes >= kMeasuredBytes) break;
    const std::vector<TokenId> ids =
        tokenizer.Encode(text, {.add_special_tokens = false, .parse_special_tokens = false});
    NOSA_ASSIGN_OR_RETURN(const std::string decoded, tokenizer.Decode(ids, true));
    if (decoded != text) return Internal("a text of {} bytes is not what its {} tokens say", text.size(), ids.size());
    measured.bytes += text.size();
    measured.tokens += ids.size();
  }
  return measured;
}

struct Seconds {
  double reading = 0, counting = 0, learning = 0;
};

struct Outcome {
  text::TrainedBpe tokenizer;
  text::WordCounter::Stats counted;
  int64_t distinct_words = 0;
  int left_out = 0;  // files
  Measured measured;
  Seconds seconds;
};

Result<text::TrainedBpe> Train(text::BpeTrainer* trainer, const Texts& texts, const TrainFlags& flags,
                               Seconds* seconds) {
  Stopwatch watch;
  Progress counting({.what = "counting words",
                     .unit = "MiB",
                     .total = static_cast<int64_t>(BytesOf(texts.training) / kMiB),
                     .enabled = !flags.silent()});
  for (const std::string_view text : texts.training) {
    NOSA_RETURN_IF_ERROR(trainer->Add(text));
    counting.Update(trainer->stats().bytes / static_cast<int64_t>(kMiB));
    if (Interrupted()) return Cancelled("stopped after counting the words of {} bytes", trainer->stats().bytes);
  }
  trainer->CountPending();
  counting.Finish();
  seconds->counting = watch.Seconds();
  watch.Restart();
  Progress learning({.what = "learning tokens", .total = flags.vocab_size, .enabled = !flags.silent()});
  Result<text::TrainedBpe> trained = trainer->Train([&](int tokens) {
    learning.Update(tokens);
    return !Interrupted();
  });
  seconds->learning = watch.Seconds();
  return trained;
}

Status Write(const text::TrainedBpe& tokenizer, const Place& place) {
  if (place.directory.empty()) return text::WriteTokenizerJson(tokenizer, place.file);
  std::error_code error;
  fs::create_directory(place.directory, error);
  if (error) return IoError("cannot make {}: {}", place.directory.string(), error.message());
  NOSA_RETURN_IF_ERROR(text::WriteTokenizerJson(tokenizer, place.file));
  return text::WriteTokenizerConfig(tokenizer, place.directory);
}

io::OrderedJson ToJson(const Outcome& outcome, const Place& place) {
  io::OrderedJson json;
  json["file"] = place.file.string();
  json["vocab_size"] = outcome.tokenizer.vocab_size();
  json["merges"] = outcome.tokenizer.learned.merges.size();
  json["special_tokens"] = outcome.tokenizer.special_tokens;
  json["bytes"] = outcome.counted.bytes;
  json["words"] = outcome.counted.words;
  json["distinct_words"] = outcome.distinct_words;
  json["thinned_out"] = outcome.counted.thinned_out;
  json["files_left_out"] = outcome.left_out;
  json["measured"] = {{"held_out", outcome.measured.held_out},
                      {"bytes", outcome.measured.bytes},
                      {"tokens", outcome.measured.tokens},
                      {"bytes_per_token", outcome.measured.bytes_per_token()}};
  json["longest_tokens"] = outcome.tokenizer.LongestTokens(kShownTokens);
  json["timing"] = {{"reading_s", outcome.seconds.reading},
                    {"counting_s", outcome.seconds.counting},
                    {"learning_s", outcome.seconds.learning}};
  return json;
}

std::string LongestShown(const text::TrainedBpe& tokenizer) {
  std::string shown;
  for (const std::string& token : tokenizer.LongestTokens(kShownTokens))
    shown += (shown.empty() ? "" : " ") + io::DumpJson(io::Json(token));
  return shown;
}

void PrintForPeople(const Outcome& outcome, const Place& place, const TrainFlags& flags) {
  const text::WordCounter::Stats& counted = outcome.counted;
  const Measured& measured = outcome.measured;
  const int tokens = outcome.tokenizer.vocab_size();
  std::vector<std::pair<std::string, std::string>> facts = {
      {"written", place.file.string()},
      {"tokens",
       FormatCount(tokens) + (tokens < flags.vocab_size
                                  ? fmt::format(" (of {}: no other pair is seen {} times)",
                                                FormatCount(flags.vocab_size), std::max(flags.min_frequency, 1))
                                  : "")},
      {"trained on", fmt::format("{}, {} words, {} distinct", FormatByteSize(static_cast<uint64_t>(counted.bytes)),
                                 FormatCount(counted.words), FormatCount(outcome.distinct_words))},
      {"bytes per token",
       fmt::format("{:.3f} on {} of {}", measured.bytes_per_token(), FormatByteSize(measured.bytes),
                   measured.held_out ? "text held out" : "the training text: there is too little to hold some out")},
      {"longest", LongestShown(outcome.tokenizer)},
      {"time", fmt::format("reading {:.1f} s, counting {:.1f} s, learning {:.1f} s", outcome.seconds.reading,
                           outcome.seconds.counting, outcome.seconds.learning)}};
  if (outcome.left_out > 0)
    facts.emplace_back("left out", fmt::format("{} files (binary, empty, over {} or not UTF-8)", outcome.left_out,
                                               FormatByteSize(tasks::CorpusOptions().max_file_bytes)));
  if (counted.thinned_out > 0)
    facts.emplace_back("thinned out", fmt::format("{} times, half of the rare words: --word-memory is {}",
                                                  counted.thinned_out, FormatByteSize(*flags.word_memory)));
  Print(FormatFacts(facts));
}

Status TrainTokenizer(const TrainFlags& flags) {
  Outcome outcome;
  NOSA_ASSIGN_OR_RETURN(const Place place, PlaceOf(flags.out));
  const Stopwatch watch;
  NOSA_ASSIGN_OR_RETURN(const tasks::Corpus corpus, tasks::ReadCorpus({flags.sources.begin(), flags.sources.end()}));
  NOSA_ASSIGN_OR_RETURN(const Texts texts, Divide(corpus, flags));
  outcome.left_out = corpus.skipped + texts.not_utf8;
  outcome.seconds.reading = watch.Seconds();
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<text::BpeTrainer> trainer, text::BpeTrainer::Create(OptionsOf(flags)));
  NOSA_ASSIGN_OR_RETURN(outcome.tokenizer, Train(trainer.get(), texts, flags, &outcome.seconds));
  outcome.counted = trainer->stats();
  outcome.distinct_words = trainer->distinct_words();
  // Measured with what a reader of the file gets.
  NOSA_ASSIGN_OR_RETURN(const auto tokenizer,
                        text::Tokenizer::FromJson(text::TokenizerJson(outcome.tokenizer), place.file.string()));
  NOSA_ASSIGN_OR_RETURN(outcome.measured, Measure(*tokenizer, texts));
  NOSA_RETURN_IF_ERROR(Write(outcome.tokenizer, place));
  if (flags.json) {
    PrintJson(ToJson(outcome, place));
  } else {
    PrintForPeople(outcome, place, flags);
  }
  return Status::Ok();
}

}  // namespace

void AddTokenizerTrain(Command command) {
  auto flags = std::make_shared<TrainFlags>();
  command.Texts("--source", &flags->sources, "file or folder with text; may be given several times", "PATH");
  command.Required("--source");
  command.Text("--out", &flags->out, "a model's directory, made if missing, or a file that ends in .json", "PATH");
  command.Required("--out");
  command.Int("--vocab-size", &flags->vocab_size, 1, "tokens in all: special ones, 256 bytes, learnt ones");
  command.Texts("--special", &flags->special,
                "special token; may be given several times: ids 0, 1, ..., of which the first three begin, end and pad "
                "texts (default: <s> </s> <pad>)",
                "TOKEN");
  command.Int("--min-frequency", &flags->min_frequency, 0, "a pair seen less often makes no token");
  command.Int("--max-token-bytes", &flags->max_token_bytes, 0, "longest token; 0: no limit");
  command.Text("--pattern", &flags->pattern, "how text is cut into words: gpt2, llama3 or a regular expression");
  command.Int("--held-out", &flags->held_out, 0,
              "one of so many parts of the text is only measured, not trained on; 0: none");
  command.Size("--word-memory", &flags->word_memory,
               "memory for distinct words; beyond it half of the rare ones are forgotten");
  command.Int("--threads", &flags->threads, 0, "threads; 0: as many as there are processors");
  command.Switch("--json", &flags->json, "results as JSON");
  command.Switch("--quiet", &flags->quiet, "only results and errors");
  command.Does([flags] { return TrainTokenizer(*flags); },
               [flags] { return text::BpeTrainer::Check(OptionsOf(*flags)); });
}

}  // namespace nosa::apps

// nosa bench serve: the server under load over HTTP, with KV offloaded and with all of it in RAM.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <tuple>

#include "apps/bench.h"
#include "apps/interrupt.h"
#include "apps/load_run.h"
#include "apps/report.h"
#include "apps/serving.h"
#include "apps/table.h"
#include "base/bytes.h"
#include "base/log.h"

namespace nosa::apps {
namespace {

struct ServeBenchFlags {
  CommonFlags common;
  std::optional<std::string> url;
  std::vector<std::string> kv = {"offload", "ram"};
  std::vector<double> rates;
  std::vector<int> concurrencies;
  LoadShape shape;
  int max_tokens = 64;
  double seconds = 30, warm_up_seconds = 5, drain_seconds = 60, hold_seconds = 5;
  int most_clients = LoadOptions().most_clients;
  int conversation_tokens = 0;  // 0: load, not conversations
  int offered = ConversationOptions().offered;
  int vocabulary = 1000;
  int parallel = ServingOptions().parallel;
  std::string prefix_cache = "on";
};

// The server of one row's tables: ours in this process, or somebody's.
struct Served {
  std::string url, model;
  Session session;  // with the mode's tiers; `serving` borrows it
  std::optional<Serving> serving;

  ~Served() {
    if (!serving) return;
    serving->service->Drain(std::chrono::milliseconds(0));
    serving->http->Stop();
  }
};

int Context(const ServeBenchFlags& flags) {
  if (flags.conversation_tokens > 0) return flags.conversation_tokens;
  return flags.shape.shared_tokens + flags.shape.longest + flags.max_tokens;
}

// The most contexts of that length whose KV fits in the budget without a disk, so that none is taken.
Result<int> MostInRam(const Session& session, int context, int wanted) {
  const std::vector<int> one = {context};
  const uint64_t budget = session.flags.kv_host.value_or(FreeRamForKv(session, one));
  int fit = 0;
  for (int low = 1, high = wanted; low <= high;) {
    const int middle = (low + high) / 2;
    NOSA_ASSIGN_OR_RETURN(const KvNeeds needs,
                          PredictKv(session, std::vector<int>(static_cast<size_t>(middle), context), std::nullopt));
    if (needs.all_in_ram_bytes <= budget) {
      fit = middle;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  if (fit > 0) return fit;
  NOSA_ASSIGN_OR_RETURN(const KvNeeds needs, PredictKv(session, one, std::nullopt));
  return ResourceExhausted("--kv ram: {} tokens take {}, found {}", context, ExactSize(needs.all_in_ram_bytes),
                           ExactSize(budget));
}

Status PlaceKv(const std::string& mode, const ServeBenchFlags& flags, Session* session, ServingOptions* options) {
  if (mode == "ram") {
    session->flags.kv_disk.reset();
    NOSA_ASSIGN_OR_RETURN(options->parallel, MostInRam(*session, Context(flags), flags.parallel));
    return Status::Ok();
  }
  options->parallel = flags.parallel;
  if (session->flags.kv_disk) return Status::Ok();
  std::error_code error;
  const std::filesystem::path path = std::filesystem::temp_directory_path(error);
  if (error) return IoError("the system has no temporary directory ({}); --kv-disk DIR names one", error.message());
  session->flags.kv_disk = DiskPlace{path.string()};
  return Status::Ok();
}

Result<std::unique_ptr<Served>> Serve(const std::string& mode, const ServeBenchFlags& flags, const Session& session) {
  // Beside those that ask there are the ones that watch, and those that the server keeps free.
  constexpr int kBeside = 64;
  auto served = std::make_unique<Served>();
  served->session = session;
  ServingOptions options;
  options.http.port = 0;
  options.http.access_log = false;
  const int most_at_once = std::max(
      {flags.most_clients, flags.offered,
       flags.concurrencies.empty() ? 0 : *std::max_element(flags.concurrencies.begin(), flags.concurrencies.end())});
  options.http.limits.connections = most_at_once + kBeside;
  options.context = Context(flags);
  options.prefixes = flags.prefix_cache == "off" ? PrefixSharing::kNone : PrefixSharing::kWithinTenant;
  // Prompts are to be read as soon as can be: what is measured comes after.
  if (flags.conversation_tokens > 0) options.scheduler.step_ms_target = 0;
  NOSA_RETURN_IF_ERROR(PlaceKv(mode, flags, &served->session, &options));
  NOSA_ASSIGN_OR_RETURN(served->serving, MakeServing(served->session, std::move(options)));
  served->serving->http->Start();
  served->url = served->serving->http->Url();
  served->model = served->serving->app->model_names.front();
  return served;
}

io::OrderedJson MillisecondsJson(const Percentiles& ms) { return {{"p50", ms.p50}, {"p95", ms.p95}, {"p99", ms.p99}}; }

io::OrderedJson ServerJson(const ServerWatch& server) {
  return {{"samples", server.samples},
          {"missed", server.missed},
          {"queued", {{"mean", server.queued_mean}, {"peak", server.queued_peak}}},
          {"reading_peak", server.reading_peak},
          {"answering_peak", server.answering_peak},
          {"running_peak", server.running_peak},
          {"kv_host_peak_bytes", server.host_peak},
          {"kv_host_budget_bytes", server.host_budget},
          {"kv_disk_peak_bytes", server.cold_peak},
          {"rss_peak_bytes", server.rss_peak},
          {"rss_first_quarter_bytes", server.rss_first},
          {"rss_last_quarter_bytes", server.rss_last}};
}

io::OrderedJson RowJson(const std::string& mode, const LoadRow& row) {
  io::OrderedJson json;
  json["kv"] = mode;
  if (row.rate > 0) {
    json["rate"] = row.rate;
  } else {
    json["concurrency"] = row.concurrency;
  }
  json["offered"] = row.offered;
  json["completed"] = row.completed;
  json["refused"] = row.refused;
  json["failed"] = row.failed;
  json["unfinished"] = row.unfinished;
  json["output_tokens_per_s"] = row.output_tokens_per_s;
  json["first_token_ms"] = MillisecondsJson(row.first_token_ms);
  json["inter_token_ms"] = MillisecondsJson(row.gap_ms);
  json["prompt_tokens"] = row.prompt_tokens;
  json["cached_tokens"] = row.cached_tokens;
  json["server"] = row.server ? ServerJson(*row.server) : io::OrderedJson();
  json["errors"] = row.errors;
  return json;
}

io::OrderedJson RowJson(const std::string& mode, const ConversationRow& row) {
  return {{"kv", mode},
          {"offered", row.offered},
          {"answering", row.answering},
          {"begun", row.begun},
          {"refused", row.refused},
          {"failed", row.failed},
          {"all_read", row.all_read},
          {"read_seconds", row.read_seconds},
          {"held_seconds", row.held_seconds},
          {"output_tokens_per_s", row.output_tokens_per_s},
          {"inter_token_ms", MillisecondsJson(row.gap_ms)},
          {"server", ServerJson(row.server)},
          {"errors", row.errors}};
}

std::string Percent(double part, double whole) { return whole > 0 ? fmt::format("{:.0f} %", part * 100 / whole) : "-"; }

// Of the budget; without one, bytes.
std::string KvFill(const ServerWatch& server) {
  if (server.host_budget == 0) return FormatByteSize(server.host_peak);
  return Percent(static_cast<double>(server.host_peak), static_cast<double>(server.host_budget));
}

std::string Drift(const ServerWatch& server) {
  const double change = static_cast<double>(server.rss_last) - static_cast<double>(server.rss_first);
  return server.rss_first > 0 ? fmt::format("{:+.1f} %", change * 100 / static_cast<double>(server.rss_first)) : "-";
}

std::vector<std::string> Cells(const std::string& mode, const LoadRow& row) {
  const auto ms = [](double value) { return fmt::format("{:.0f}", value); };
  std::vector<std::string> cells = {
      mode,
      row.rate > 0 ? fmt::format("{}/s", row.rate) : fmt::format("{} clients", row.concurrency),
      fmt::format("{}", row.offered),
      fmt::format("{}", row.completed),
      fmt::format("{}", row.refused),
      fmt::format("{}", row.failed),
      fmt::format("{}", row.unfinished),
      fmt::format("{:.1f}", row.output_tokens_per_s),
      fmt::format("{} / {} / {}", ms(row.first_token_ms.p50), ms(row.first_token_ms.p95), ms(row.first_token_ms.p99)),
      fmt::format("{:.1f} / {:.1f} / {:.1f}", row.gap_ms.p50, row.gap_ms.p95, row.gap_ms.p99),
      Percent(static_cast<double>(row.cached_tokens), static_cast<double>(row.prompt_tokens))};
  if (row.server) {
    cells.insert(cells.end(), {fmt::format("{}", row.server->running_peak), fmt::format("{}", row.server->queued_peak),
                               KvFill(*row.server), FormatByteSize(row.server->rss_peak), Drift(*row.server)});
  } else {
    cells.insert(cells.end(), 5, "-");
  }
  return cells;
}

std::vector<std::string> Cells(const std::string& mode, const ConversationRow& row) {
  return {mode,
          fmt::format("{}", row.offered),
          fmt::format("{}", row.answering),
          fmt::format("{}", row.server.running_peak),
          fmt::format("{}", row.refused + row.failed),
          fmt::format("{:.1f}", row.read_seconds),
          fmt::format("{:.1f}", row.output_tokens_per_s),
          fmt::format("{:.1f} / {:.1f} / {:.1f}", row.gap_ms.p50, row.gap_ms.p95, row.gap_ms.p99),
          FormatByteSize(row.server.host_peak),
          FormatByteSize(row.server.cold_peak),
          FormatByteSize(row.server.rss_peak)};
}

class ServeBench {
 public:
  explicit ServeBench(const ServeBenchFlags& flags) : flags_(flags) {}
  Status Run();

 private:
  Status RunMode(const std::string& mode, const Served& served);
  Status RunOne(const std::string& mode, const Served& served, double rate, int concurrency);
  Status RunTalks(const std::string& mode, const Served& served);
  void Describe();
  Status Say();
  LoadTarget Target(const Served& served) const {
    return {.url = served.url, .model = served.model, .max_tokens = flags_.max_tokens};
  }

  ServeBenchFlags flags_;
  uint64_t row_ = 0;  // of the mode: rows of all modes with one number get the same requests
  int failed_ = 0;
  std::string first_error_;
  io::OrderedJson json_;
  Table table_;
};

Status ServeBench::RunOne(const std::string& mode, const Served& served, double rate, int concurrency) {
  LoadOptions options = {.target = Target(served),
                         .shape = flags_.shape,
                         .rate = rate,
                         .concurrency = concurrency,
                         .most_clients = flags_.most_clients,
                         .warm_up_seconds = flags_.warm_up_seconds,
                         .seconds = flags_.seconds,
                         .drain_seconds = flags_.drain_seconds};
  // A row's prompts are its own: what an earlier row left in the cache helps none of them.
  constexpr uint64_t kFarApart = 0x9e3779b97f4a7c15;
  options.shape.seed += row_++ * kFarApart;
  LogInfo("KV {}: {} for {} s", mode,
          rate > 0 ? fmt::format("{} requests a second", rate) : fmt::format("{} clients", concurrency),
          flags_.warm_up_seconds + flags_.seconds);
  NOSA_ASSIGN_OR_RETURN(const LoadRow row, RunLoad(options));
  failed_ += row.failed;
  if (first_error_.empty() && row.failed > 0 && !row.errors.empty()) first_error_ = row.errors.front();
  json_["rows"].push_back(RowJson(mode, row));
  table_.Row(Cells(mode, row));
  return Status::Ok();
}

Status ServeBench::RunTalks(const std::string& mode, const Served& served) {
  LogInfo("KV {}: {} conversations of {} tokens", mode, flags_.offered, flags_.conversation_tokens);
  NOSA_ASSIGN_OR_RETURN(const ConversationRow row, RunConversations({.target = Target(served),
                                                                     .shape = flags_.shape,
                                                                     .offered = flags_.offered,
                                                                     .hold_seconds = flags_.hold_seconds}));
  failed_ += row.failed;
  if (first_error_.empty() && row.failed > 0 && !row.errors.empty()) first_error_ = row.errors.front();
  json_["rows"].push_back(RowJson(mode, row));
  table_.Row(Cells(mode, row));
  return Status::Ok();
}

Status ServeBench::RunMode(const std::string& mode, const Served& served) {
  if (flags_.conversation_tokens > 0) return RunTalks(mode, served);
  row_ = 0;
  for (const double rate : flags_.rates) NOSA_RETURN_IF_ERROR(RunOne(mode, served, rate, 0));
  for (const int concurrency : flags_.concurrencies) NOSA_RETURN_IF_ERROR(RunOne(mode, served, 0, concurrency));
  return Status::Ok();
}

void ServeBench::Describe() {
  json_["max_tokens"] = flags_.max_tokens;
  json_["seed"] = flags_.shape.seed;
  if (flags_.common.kv_host) json_["kv_host"] = *flags_.common.kv_host;
  if (flags_.conversation_tokens > 0) {
    json_["conversation_tokens"] = flags_.conversation_tokens;
    json_["hold_seconds"] = flags_.hold_seconds;
    table_ = Table({"KV", "offered", "answering", "admitted", "failed", "read after s", "tok/s",
                    "gap ms p50 / p95 / p99", "KV in RAM", "KV on disk", "RSS"});
  } else {
    json_["prompt_tokens"] = {flags_.shape.shortest, flags_.shape.longest};
    json_["shared_prefix"] = flags_.shape.shared_tokens;
    json_["prefix_groups"] = flags_.shape.groups;
    json_["warm_up_seconds"] = flags_.warm_up_seconds;
    json_["seconds"] = flags_.seconds;
    table_ = Table({"KV", "load", "offered", "done", "refused", "failed", "unfinished", "tok/s",
                    "first token ms p50 / p95 / p99", "gap ms p50 / p95 / p99", "cached", "running", "queue", "KV fill",
                    "RSS", "drift"});
  }
  json_["rows"] = io::OrderedJson::array();
}

Status ServeBench::Say() {
  if (flags_.common.json) {
    PrintJson(json_);
  } else {
    Print(table_.ToString());
  }
  if (failed_ == 0) return Status::Ok();
  NOSA_RETURN_IF_ERROR(FlushStdout());
  return Unavailable("{} requests failed, the first with: {}", failed_, first_error_);
}

Status ServeBench::Run() {
  InstallTerminateHandler();
  if (flags_.rates.empty() && flags_.concurrencies.empty()) flags_.rates = {1, 2, 4};
  if (flags_.conversation_tokens > 0) {
    flags_.shape.shortest = flags_.shape.longest = flags_.conversation_tokens - flags_.max_tokens;
    flags_.shape.shared_tokens = 0;
    flags_.parallel = flags_.offered;
  }
  if (flags_.url) {
    if (flags_.common.quiet) SetLogLevel(LogLevel::kWarn);
    flags_.shape.vocabulary = flags_.vocabulary;
    Served served;
    served.url = *flags_.url;
    NOSA_ASSIGN_OR_RETURN(served.model, FirstModel(served.url));
    json_["benchmark"] = "serve";
    json_["url"] = served.url;
    json_["model"] = served.model;
    Describe();
    NOSA_RETURN_IF_ERROR(RunMode("-", served));
    return Say();
  }
  UseFewHeaps();
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags_.common));
  const schema::ModelConfig& config = session->model->config();
  if (Context(flags_) > config.max_position)
    return InvalidArgument("the longest prompt takes {} tokens with its answer, the model reads at most {}",
                           Context(flags_), config.max_position);
  flags_.shape.vocabulary = static_cast<int>(config.vocab_size);
  json_ = BenchHeader(*session, "serve");
  Describe();
  for (const std::string& mode : flags_.kv) {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Served> served, Serve(mode, flags_, *session));
    NOSA_RETURN_IF_ERROR(RunMode(mode, *served));
  }
  return Say();
}

Status Check(const ServeBenchFlags& flags) {
  NOSA_RETURN_IF_ERROR(CheckCommonFlags(flags.common));
  if (flags.url.has_value() == !flags.common.model.empty())
    return InvalidArgument("expected one of --model and --url, found {}", flags.url ? "both" : "none");
  for (const auto& [name, seconds, least] :
       {std::tuple("--duration", flags.seconds, 0.1), std::tuple("--warm-up", flags.warm_up_seconds, 0.0),
        std::tuple("--drain", flags.drain_seconds, 0.0), std::tuple("--hold", flags.hold_seconds, 0.1)}) {
    if (!(seconds >= least && seconds < 1e6))
      return InvalidArgument("{}: expected seconds from {} on, found {}", name, least, seconds);
  }
  if (flags.conversation_tokens > 0 && flags.conversation_tokens <= flags.max_tokens)
    return InvalidArgument("--conversations: expected more tokens than the {} of --max-tokens, found {}",
                           flags.max_tokens, flags.conversation_tokens);
  return Status::Ok();
}

// Words between commas, none of them empty.
Result<std::vector<std::string>> Words(std::string_view text) {
  std::vector<std::string> words;
  while (true) {
    const size_t comma = text.find(',');
    if (comma == 0 || text.empty()) return InvalidArgument("expected words between commas, found an empty one");
    words.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return words;
    text.remove_prefix(comma + 1);
  }
}

Result<int> Tokens(std::string_view text) {
  std::string_view digits = text;
  const bool kilo = !digits.empty() && (digits.back() == 'K' || digits.back() == 'k');
  if (kilo) digits.remove_suffix(1);
  int value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  constexpr int kMost = 1 << 20;
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || value < 1 || value > kMost)
    return InvalidArgument("expected tokens from 1 to {}, as 16384 or 16K, found \"{}\"", kMost, text);
  return kilo ? value * 1024 : value;
}

void AddLoadFlags(Command& command, ServeBenchFlags* flags) {
  command.Parsed(
      "--kv", "MODE[,MODE]",
      [flags](std::string_view text) {
        NOSA_ASSIGN_OR_RETURN(flags->kv, Words(text));
        for (const std::string& mode : flags->kv) {
          if (mode != "offload" && mode != "ram") return InvalidArgument("expected offload or ram, found \"{}\"", mode);
        }
        return Status::Ok();
      },
      "where KV is, with one RAM budget: offload (RAM and disk), ram (RAM only); default: one after the other");
  command.Parsed(
      "--rate", "N[,N]",
      [flags](std::string_view text) {
        flags->rates.clear();
        NOSA_ASSIGN_OR_RETURN(const std::vector<std::string> words, Words(text));
        for (const std::string& word : words) {
          char* end = nullptr;
          const double rate = std::strtod(word.c_str(), &end);
          if (*end != 0 || !(rate > 0 && rate <= 1e4))
            return InvalidArgument("expected requests a second, above 0 and to 10000, found \"{}\"", word);
          flags->rates.push_back(rate);
        }
        return Status::Ok();
      },
      "requests a second, as a Poisson process; a row each (default: 1,2,4, unless --concurrency is given)");
  command.Ints("--concurrency", &flags->concurrencies, 1,
               "clients that each ask again once they have their answer; a row each");
  command.Parsed(
      "--prompt-tokens", "LOW:HIGH",
      [flags](std::string_view text) {
        const size_t colon = text.find(':');
        NOSA_ASSIGN_OR_RETURN(flags->shape.shortest, Tokens(text.substr(0, colon)));
        flags->shape.longest = flags->shape.shortest;
        if (colon == std::string_view::npos) return Status::Ok();
        NOSA_ASSIGN_OR_RETURN(flags->shape.longest, Tokens(text.substr(colon + 1)));
        if (flags->shape.longest >= flags->shape.shortest) return Status::Ok();
        return InvalidArgument("expected LOW:HIGH with HIGH at least LOW, found \"{}\"", text);
      },
      "length of prompts; its logarithm is uniform (default 64:1024)");
  command.Int("--max-tokens", &flags->max_tokens, 1, "tokens of every answer");
  command.Int("--shared-prefix", &flags->shape.shared_tokens, 0,
              "tokens before each prompt that all prompts of its group begin with");
  command.Int("--prefix-groups", &flags->shape.groups, 1, "groups of prompts");
  command.Number("--duration", &flags->seconds, "seconds that each row measures");
  command.Number("--warm-up", &flags->warm_up_seconds, "seconds of the same load before that");
  command.Number("--drain", &flags->drain_seconds, "seconds that answers have after it");
  command.Int("--clients", &flags->most_clients, 1, "most connections of --rate; further requests wait for one");
  command.Seed("--seed", &flags->shape.seed, "what arrivals, lengths and prompts follow from");
}

}  // namespace

void AddBenchServe(Command command) {
  auto flags = std::make_shared<ServeBenchFlags>();
  command.Text("--url", &flags->url, "a server that runs already, http://HOST:PORT, in place of one with --model",
               "URL");
  command.Int("--vocabulary", &flags->vocabulary, 2, "with --url: prompts are of token ids below this");
  AddLoadFlags(command, flags.get());
  command.Parsed(
      "--conversations", "TOKENS",
      [flags](std::string_view text) {
        NOSA_ASSIGN_OR_RETURN(flags->conversation_tokens, Tokens(text));
        return Status::Ok();
      },
      "in place of load: how many conversations of so many tokens (16K), answers included, are answered at once");
  command.Int("--offered", &flags->offered, 1, "with --conversations: that are begun at once", 10000);
  command.Number("--hold", &flags->hold_seconds, "with --conversations: seconds that they must go on answering");
  command.Int("--parallel", &flags->parallel, 1, "whole contexts that memory is laid out for, as of `serve`", 4096);
  command.Choice("--prefix-cache", &flags->prefix_cache, {"on", "off"},
                 "whether beginnings of prompts stay cached for requests that begin alike");
  AddCommonFlags(command, &flags->common, {.model_required = false});
  command.Does([flags] { return ServeBench(*flags).Run(); }, [flags] { return Check(*flags); });
}

}  // namespace nosa::apps

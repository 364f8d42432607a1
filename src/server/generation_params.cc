#include "server/generation_params.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "server/fields.h"

namespace nosa::server {
namespace {

using io::OrderedJson;
using MaybeError = std::optional<ApiError>;

void ReadInt(const OrderedJson& body, std::string_view name, int* value) {
  if (const OrderedJson* found = Find(body, name))
    *value = static_cast<int>(std::min<int64_t>(ToInteger(*found), std::numeric_limits<int>::max()));
}

void ReadFloat(const OrderedJson& body, std::string_view name, float* value) {
  if (const OrderedJson* found = Find(body, name)) *value = found->get<float>();
}

void ReadBool(const OrderedJson& body, std::string_view name, bool* value) {
  if (const OrderedJson* found = Find(body, name)) *value = found->get<bool>();
}

MaybeError ParseStop(const OrderedJson& body, std::vector<std::string>* stop) {
  const OrderedJson* found = Find(body, "stop");
  if (found == nullptr) return std::nullopt;
  if (found->is_string()) {
    stop->push_back(found->get<std::string>());
  } else {
    for (const OrderedJson& text : *found) {
      if (!text.is_string()) return WrongType(fmt::format("stop[{}]", stop->size()), "a string", text);
      stop->push_back(text.get<std::string>());
    }
  }
  for (const std::string& text : *stop) {
    // Every one is looked for after every token.
    constexpr size_t kMostBytes = 1024;
    if (text.empty() || text.size() > kMostBytes)
      return BadField(
          "stop",
          fmt::format("Invalid 'stop': expected texts of 1 to {} bytes, but got one of {}.", kMostBytes, text.size()),
          "invalid_value");
  }
  return std::nullopt;
}

MaybeError ParseLogitBias(const OrderedJson& body, std::vector<std::pair<TokenId, float>>* biases) {
  const OrderedJson* found = Find(body, "logit_bias");
  if (found == nullptr) return std::nullopt;
  for (const auto& [key, value] : found->items()) {
    TokenId id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (key.empty() || error != std::errc() || end != key.data() + key.size() || id < 0)
      return BadField("logit_bias",
                      fmt::format("Invalid key in 'logit_bias': {}. Expected token ids.", key.substr(0, 64)),
                      "invalid_value");
    if (!value.is_number()) return WrongType(fmt::format("logit_bias.{}", id), "a decimal", value);
    const double bias = value.get<double>();
    if (!(bias >= -100 && bias <= 100))
      return BadField("logit_bias",
                      fmt::format("Invalid 'logit_bias.{}': expected a value from -100 to 100, but got {}.", id, bias),
                      "invalid_value");
    biases->emplace_back(id, static_cast<float>(bias));
  }
  return std::nullopt;
}

MaybeError ParseJsonSchema(const OrderedJson& format, GrammarCache* grammars, engine::Request* request) {
  const OrderedJson* named = Find(format, "json_schema");
  if (named == nullptr) return Missing("response_format.json_schema");
  const std::string place = "response_format.json_schema";
  if (auto error = CheckKnown(place, *named, {"name", "description", "schema", "strict"})) return error;
  std::string name;
  if (auto error = GetText(place, *named, "name", &name)) return error;
  if (name.empty()) return Missing(place + ".name");
  const OrderedJson* schema = Find(*named, "schema");
  if (schema == nullptr) return Missing(place + ".schema");
  auto grammar = grammars->Get(GrammarCache::Form::kJsonSchema, io::DumpJson(*schema));
  if (!grammar.ok())
    return BadField(
        place + ".schema",
        fmt::format("Invalid schema for response_format '{}': {}", name.substr(0, 64), grammar.status().message()),
        "invalid_json_schema");
  request->grammar = *std::move(grammar);
  return std::nullopt;
}

MaybeError ParseFormat(const OrderedJson& body, GrammarCache* grammars, engine::Request* request) {
  const OrderedJson* format = Find(body, "response_format");
  const OrderedJson* grammar = Find(body, "grammar");
  if (grammar != nullptr) {
    if (format != nullptr)
      return BadField("grammar", "Invalid 'grammar': an answer takes one of grammar and response_format.",
                      "invalid_value");
    auto compiled = grammars->Get(GrammarCache::Form::kText, grammar->get<std::string>());
    if (!compiled.ok()) return BadField("grammar", std::string(compiled.status().message()), "invalid_grammar");
    request->grammar = *std::move(compiled);
  }
  if (format != nullptr) {
    if (auto error = CheckKnown("response_format", *format, {"type", "json_schema"})) return error;
    std::string type;
    if (auto error = GetText("response_format", *format, "type", &type)) return error;
    if (type.empty()) return Missing("response_format.type");
    if (type == "json_object") {
      request->grammar = grammars->AnyJsonObject();
    } else if (type == "json_schema") {
      if (auto error = ParseJsonSchema(*format, grammars, request)) return error;
    } else if (type != "text") {
      return BadField("response_format.type",
                      fmt::format("Invalid value: '{}'. Supported values are: 'text', 'json_object' and 'json_schema'.",
                                  type.substr(0, 64)),
                      "invalid_value");
    }
  }
  if (request->grammar != nullptr && request->ignore_eos)
    return BadField("ignore_eos", "Invalid 'ignore_eos': an answer of a given form ends where that ends.",
                    "invalid_value");
  return std::nullopt;
}

MaybeError ParseStreaming(const OrderedJson& body, GenerationParams* params) {
  ReadBool(body, "stream", &params->stream);
  if (const OrderedJson* options = Find(body, "stream_options")) {
    if (!params->stream)
      return BadField("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                      "invalid_value");
    if (auto error = CheckKnown("stream_options", *options, {"include_usage", "include_obfuscation"})) return error;
    if (auto error = GetBool("stream_options", *options, "include_usage", &params->include_usage)) return error;
  }
  if (const OrderedJson* own = Find(body, "nosa")) {
    if (auto error = CheckKnown("nosa", *own, {"progress"})) return error;
    if (auto error = GetBool("nosa", *own, "progress", &params->progress)) return error;
  }
  return std::nullopt;
}

MaybeError ParseLogprobs(BodyKind kind, const OrderedJson& body, GenerationParams* params) {
  if (kind == BodyKind::kCompletion) {
    ReadInt(body, "logprobs", &params->logprobs);
    return std::nullopt;
  }
  bool wanted = false;
  ReadBool(body, "logprobs", &wanted);
  int top = 0;
  ReadInt(body, "top_logprobs", &top);
  if (wanted) {
    params->logprobs = top;
  } else if (top > 0) {
    return BadField("top_logprobs", "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
                    "invalid_value");
  }
  return std::nullopt;
}

}  // namespace

int64_t ToInteger(const OrderedJson& value) {
  return value.is_number_float() ? static_cast<int64_t>(value.get<double>()) : value.get<int64_t>();
}

Result<std::shared_ptr<const text::Grammar>> GrammarCache::Get(Form form, const std::string& source) {
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = kept_.begin(); entry != kept_.end(); ++entry) {
      if (entry->form != form || entry->source != source) continue;
      kept_.splice(kept_.begin(), kept_, entry);
      return kept_.front().grammar;
    }
  }
  // Compiled without the lock: a large schema must not hold up others.
  NOSA_ASSIGN_OR_RETURN(std::shared_ptr<const text::Grammar> grammar,
                        form == Form::kText ? text::Grammar::FromText(source, "grammar")
                                            : text::Grammar::FromJsonSchema(source, "the schema"));
  const std::lock_guard lock(mutex_);
  kept_.push_front({form, source, grammar});
  if (kept_.size() > kMostKept) kept_.pop_back();
  return grammar;
}

std::shared_ptr<const text::Grammar> GrammarCache::AnyJsonObject() {
  const std::lock_guard lock(mutex_);
  if (any_object_ == nullptr) any_object_ = text::Grammar::AnyJsonObject();
  return any_object_;
}

MaybeError ParseGenerationParams(BodyKind kind, const OrderedJson& body, GrammarCache* grammars,
                                 GenerationParams* params) {
  engine::Request& request = params->request;
  engine::SamplingParams& sampling = request.sampling;
  params->model = Find(body, "model")->get<std::string>();
  sampling.temperature = 1;  // OpenAI's default
  ReadFloat(body, "temperature", &sampling.temperature);
  ReadFloat(body, "top_p", &sampling.top_p);
  // 0 is the likeliest token alone, for which the engine has another word.
  if (sampling.top_p == 0) {
    sampling.top_p = 1;
    sampling.temperature = 0;
  }
  ReadInt(body, "top_k", &sampling.top_k);
  ReadFloat(body, "min_p", &sampling.min_p);
  ReadFloat(body, "repetition_penalty", &sampling.repetition_penalty);
  ReadFloat(body, "presence_penalty", &sampling.presence_penalty);
  ReadFloat(body, "frequency_penalty", &sampling.frequency_penalty);
  if (auto error = ParseLogitBias(body, &sampling.logit_bias)) return error;
  if (const OrderedJson* seed = Find(body, "seed")) params->seed = static_cast<uint64_t>(ToInteger(*seed));
  ReadInt(body, "n", &params->choices);
  ReadBool(body, "ignore_eos", &request.ignore_eos);
  request.fingerprint = false;  // nobody is told
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"}) {
    if (Find(body, name) != nullptr) ReadInt(body, name, &params->max_tokens.emplace());
  }
  if (auto error = ParseStop(body, &request.stop)) return error;
  if (auto error = ParseFormat(body, grammars, &request)) return error;
  if (auto error = ParseStreaming(body, params)) return error;
  return ParseLogprobs(kind, body, params);
}

}  // namespace nosa::server

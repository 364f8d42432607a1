#include "server/page/cache_json.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace nosa::server {
namespace {

constexpr size_t kMostRun = 128;

std::string Base64(std::span<const uint8_t> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // the library ends it with a zero byte
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

// How often values[begin] stands there in a row, up to kMostRun.
size_t RunAt(std::span<const uint8_t> values, size_t begin) {
  size_t end = begin + 1;
  while (end < values.size() && end - begin < kMostRun && values[end] == values[begin]) ++end;
  return end - begin;
}

// Part of `levels` that n of `lanes` is.
uint8_t Level(uint32_t n, uint32_t lanes, uint32_t levels) {
  if (n == 0 || lanes == levels) return static_cast<uint8_t>(n);
  if (n >= lanes) return static_cast<uint8_t>(levels);
  return static_cast<uint8_t>(std::clamp<uint32_t>(n * levels / lanes, 1, levels - 1));
}

}  // namespace

std::string PackValues(std::span<const uint8_t> values) {
  std::vector<uint8_t> packed;
  for (size_t i = 0; i < values.size();) {
    const size_t run = RunAt(values, i);
    // A run of two costs as much as two values, and breaks off those around it.
    if (run > 2) {
      packed.push_back(static_cast<uint8_t>(257 - run));
      packed.push_back(values[i]);
      i += run;
      continue;
    }
    size_t end = i;
    while (end < values.size() && end - i < kMostRun && RunAt(values, end) <= 2) ++end;
    packed.push_back(static_cast<uint8_t>(end - i - 1));
    packed.insert(packed.end(), values.begin() + static_cast<std::ptrdiff_t>(i),
                  values.begin() + static_cast<std::ptrdiff_t>(end));
    i = end;
  }
  return Base64(packed);
}

uint8_t AgeCode(uint32_t steps) {
  if (steps == 0) return 0;
  if (steps > (uint32_t{1} << 31)) return 255;
  return static_cast<uint8_t>(1 + std::lround(8 * std::log2(static_cast<double>(steps))));
}

io::OrderedJson CacheMapJson(const engine::CacheMap& map) {
  const auto lanes = static_cast<uint32_t>(map.layers * map.kv_heads);
  const uint32_t levels = std::min<uint32_t>(lanes, 255);
  std::vector<uint8_t> fast, selected, age, shared;
  for (const engine::CacheMap::Block& block : map.blocks) {
    fast.push_back(Level(block.fast_lanes, lanes, levels));
    selected.push_back(Level(block.selected, lanes, levels));
    age.push_back(AgeCode(block.last_step));
    shared.push_back(block.shared ? 1 : 0);
  }
  io::OrderedJson json;
  json["id"] = map.answer_id;
  json["tokens"] = map.tokens;
  json["block_size"] = map.block_size;
  json["layers"] = map.layers;
  json["kv_heads"] = map.kv_heads;
  json["seated"] = map.seated;
  json["tail"] = !map.blocks.empty() && map.blocks.back().tail;
  json["blocks"] = map.blocks.size();
  json["levels"] = levels;
  json["fast"] = PackValues(fast);
  json["selected"] = PackValues(selected);
  json["age"] = PackValues(age);
  json["shared"] = PackValues(shared);
  json["locality"] = map.locality;
  json["queries"] = map.queries;
  json["hit_rate"] = map.hit_rate;
  return json;
}

namespace {

io::OrderedJson TierJson(const char* name, uint64_t used, uint64_t budget) {
  io::OrderedJson json;
  json["name"] = name;
  json["used_bytes"] = used;
  json["budget_bytes"] = nullptr;  // as much as the machine gives
  if (budget != std::numeric_limits<uint64_t>::max()) json["budget_bytes"] = budget;
  return json;
}

// Sealed blocks that were asked for, of these found in the fastest tier, and what was brought there.
io::OrderedJson ReadsJson(uint64_t lookups, uint64_t hits, uint64_t blocks_fetched, uint64_t bytes_fetched) {
  return {{"lookups", lookups}, {"hits", hits}, {"blocks_fetched", blocks_fetched}, {"bytes_fetched", bytes_fetched}};
}

io::OrderedJson AnswerJson(const engine::AnswerInfo& answer) {
  io::OrderedJson json;
  json["id"] = answer.id;
  json["phase"] = engine::AnswerPhaseName(answer.phase);
  json["prompt_tokens"] = answer.prompt_tokens;
  json["prompt_done"] = answer.prompt_done;
  json["generated_tokens"] = answer.generated_tokens;
  json["tokens_per_second"] = answer.tokens_per_second;
  return json;
}

}  // namespace

io::OrderedJson StatusJson(const std::string& model, const engine::ServiceStats& stats,
                           std::span<const engine::AnswerInfo> answers) {
  const engine::EngineStats& engine = stats.engine;
  io::OrderedJson json;
  json["model"] = model;
  json["draining"] = stats.draining;
  json["queued"] = stats.queued;
  json["reading"] = stats.reading;
  json["answering"] = stats.answering;
  json["paused"] = stats.paused;
  json["tokens_per_second"] = stats.tokens_per_second;
  json["tokens"] = {
      {"prompt", stats.prompt_tokens}, {"cached", stats.cached_tokens}, {"generated", stats.generated_tokens}};
  json["requests"] = {{"taken", stats.requests},
                      {"finished", stats.finished},
                      {"failed", stats.failed},
                      {"cancelled", stats.cancelled},
                      {"refused", stats.refused}};
  json["locality"] = {{"mean", engine.decode_locality.mean()}, {"queries", engine.decode_locality.queries}};
  const auto& seats = engine.seating.counters;
  json["kv"]["host"] = ReadsJson(engine.kv.lookups, engine.kv.hits, engine.kv.blocks_fetched, engine.kv.bytes_fetched);
  json["kv"]["seats"] = nullptr;
  if (engine.seating.seats > 0) {
    json["kv"]["seats"] =
        ReadsJson(seats.selected, seats.selected - seats.missing, seats.missing, engine.seating.bytes_fetched);
  }
  json["tiers"] = io::OrderedJson::array();
  if (engine.seating.seats > 0)
    json["tiers"].push_back(TierJson("GPU", engine.seating.device_bytes, engine.seating.device_bytes));
  json["tiers"].push_back(TierJson("RAM", stats.host_used_bytes, stats.host_budget_bytes));
  if (stats.cold_budget_bytes > 0) json["tiers"].push_back(TierJson("disk", stats.cold_bytes, stats.cold_budget_bytes));
  json["answers"] = io::OrderedJson::array();
  for (const engine::AnswerInfo& answer : answers) json["answers"].push_back(AnswerJson(answer));
  return json;
}

}  // namespace nosa::server

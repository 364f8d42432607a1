#include "apps/document_report.h"

#include "apps/answer_report.h"
#include "base/bytes.h"

namespace nosa::apps {
namespace {

io::OrderedJson PhaseJson(const engine::EngineStats& stats) {
  io::OrderedJson json;
  json["hit_rate"] = HitRate(stats.kv);
  json["blocks_fetched"] = stats.kv.blocks_fetched;
  json["bytes_fetched"] = stats.kv.bytes_fetched;
  json["stall_s"] = stats.kv.stall_seconds;
  json["recomputed_blocks"] = stats.recomputed_blocks;
  return json;
}

}  // namespace

std::string FetchedPerToken(const engine::EngineStats& stats, int64_t tokens) {
  return FormatByteSize(tokens == 0 ? 0 : stats.kv.bytes_fetched / static_cast<uint64_t>(tokens));
}

io::OrderedJson DocumentTimingJson(const eval::DocumentWork& work) {
  io::OrderedJson timing;
  timing["prefill_s"] = work.reading.seconds;
  timing["prefill_tok_s"] = work.reading.per_second();
  timing["questions_s"] = work.questions.seconds;
  timing["question_tokens"] = work.questions.tokens;
  timing["decode_s"] = work.decode.seconds;
  timing["decode_tokens"] = work.decode.tokens;
  timing["decode_tok_s"] = work.decode.per_second();
  return timing;
}

io::OrderedJson DocumentKvJson(const eval::DocumentWork& work, const kv::KvStore& store) {
  io::OrderedJson kv;
  kv["total_bytes"] = work.kv_bytes;
  kv["host_budget_bytes"] = store.host_budget_bytes();
  kv["host_peak_bytes"] = work.while_answering.kv.host_peak_bytes;
  kv["disk_bytes"] = work.while_answering.kv.cold_peak_bytes;
  kv["locality"] = work.while_answering.decode_locality.mean();
  kv["prefill_locality"] = work.while_reading.prefill_locality.mean();
  kv["reading"] = PhaseJson(work.while_reading);
  kv["answering"] = PhaseJson(work.while_answering);
  return kv;
}

std::vector<std::string> WorkHeader() {
  return {"KV", "locality", "hit rate", "fetched a token", "prefill tok/s", "decode tok/s"};
}

std::vector<std::string> WorkCells(const eval::DocumentWork& work) {
  const engine::EngineStats& stats = work.while_answering;
  return {FormatByteSize(work.kv_bytes),
          fmt::format("{:.3f}", stats.decode_locality.mean()),
          fmt::format("{:.3f}", HitRate(stats.kv)),
          FetchedPerToken(stats, work.decode.tokens + work.questions.tokens),
          fmt::format("{:.0f}", work.reading.per_second()),
          fmt::format("{:.1f}", work.decode.per_second())};
}

}  // namespace nosa::apps

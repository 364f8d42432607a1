#include "eval/run.h"

#include <algorithm>
#include <vector>

namespace nosa::eval {

Status RunToEnd(engine::Engine& engine, engine::RequestId id, FunctionRef<bool(const engine::Event&)> on_event) {
  std::vector<engine::Event> events;
  while (true) {
    events.clear();
    NOSA_RETURN_IF_ERROR(engine.Step(&events));
    bool finished = false, go_on = true;
    for (const engine::Event& event : events) {
      if (event.request != id) continue;
      go_on = on_event(event) && go_on;
      finished = finished || event.kind == engine::Event::Kind::kFinished;
    }
    if (finished) break;
    if (!go_on) engine.Cancel(id);
  }
  const engine::RequestResult& result = engine.result(id);
  if (result.reason == engine::FinishReason::kCancelled) return Cancelled("interrupted");
  return result.error;
}

engine::EngineStats Since(const engine::EngineStats& now, const engine::EngineStats& before) {
  engine::EngineStats since = now;
  since.kv.lookups -= before.kv.lookups;
  since.kv.hits -= before.kv.hits;
  since.kv.blocks_fetched -= before.kv.blocks_fetched;
  since.kv.bytes_fetched -= before.kv.bytes_fetched;
  since.kv.damaged_blocks -= before.kv.damaged_blocks;
  since.kv.stall_seconds -= before.kv.stall_seconds;
  since.decode_locality.shared -= before.decode_locality.shared;
  since.decode_locality.queries -= before.decode_locality.queries;
  since.prefill_locality.shared -= before.prefill_locality.shared;
  since.prefill_locality.queries -= before.prefill_locality.queries;
  since.recomputed_blocks -= before.recomputed_blocks;
  return since;
}

void AddCounts(const engine::EngineStats& more, engine::EngineStats* sum) {
  sum->kv.host_peak_bytes = std::max(sum->kv.host_peak_bytes, more.kv.host_peak_bytes);
  sum->kv.cold_peak_bytes = std::max(sum->kv.cold_peak_bytes, more.kv.cold_peak_bytes);
  sum->kv.lookups += more.kv.lookups;
  sum->kv.hits += more.kv.hits;
  sum->kv.blocks_fetched += more.kv.blocks_fetched;
  sum->kv.bytes_fetched += more.kv.bytes_fetched;
  sum->kv.damaged_blocks += more.kv.damaged_blocks;
  sum->kv.stall_seconds += more.kv.stall_seconds;
  sum->decode_locality.shared += more.decode_locality.shared;
  sum->decode_locality.queries += more.decode_locality.queries;
  sum->prefill_locality.shared += more.prefill_locality.shared;
  sum->prefill_locality.queries += more.prefill_locality.queries;
  sum->recomputed_blocks += more.recomputed_blocks;
}

}  // namespace nosa::eval

#include "eval/run.h"

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

}  // namespace nosa::eval

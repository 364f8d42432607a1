// One request from where it stands to its end, and what the engine counted meanwhile.
#pragma once

#include "base/function_ref.h"
#include "engine/engine.h"

namespace nosa::eval {

// Steps the engine until `id` has finished. `on_event` sees every event of it and returns false to give up: the request
// is then cancelled. Returns the request's error; kCancelled when it was given up. Either way it has finished, unless
// the engine itself failed.
Status RunToEnd(engine::Engine& engine, engine::RequestId id, FunctionRef<bool(const engine::Event&)> on_event);

// What was counted between two looks at an engine; peaks and what is held now are those of `now`.
engine::EngineStats Since(const engine::EngineStats& now, const engine::EngineStats& before);
// Adds what Since gives the difference of; of peaks the larger stays.
void AddCounts(const engine::EngineStats& more, engine::EngineStats* sum);

}  // namespace nosa::eval

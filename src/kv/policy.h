// Which block leaves a lane's slots when another must come in.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"

namespace nosa::kv {

// What the store knows when a block is used.
struct UseHint {
  uint64_t step = 0;     // forward passes so far; a block used now has the newest step
  float importance = 0;  // the selector's query-agnostic score; larger is likelier to be selected again; may be +-inf
};

// Bookkeeping over the slots of one lane, numbered from 0. A policy advises, the store acts: no I/O, no knowledge of
// models, deterministic. A slot is inserted, used any number of times, removed. Not thread-safe.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  // Slots are in [0, slots); grows or shrinks; slots above are already removed when it shrinks.
  virtual void Resize(int slots) = 0;
  virtual void OnInsert(int slot, const UseHint& hint) = 0;
  virtual void OnUse(int slot, const UseHint& hint) = 0;
  virtual void OnRemove(int slot) = 0;
  // The occupied slot to give up among those for which evictable(slot) holds; -1 when there is none. O(slots).
  virtual int Victim(FunctionRef<bool(int slot)> evictable) const = 0;
};

// By the names of policies.def; kInvalidArgument lists them.
Result<std::unique_ptr<EvictionPolicy>> MakePolicy(std::string_view name);
std::vector<std::string> PolicyNames();

}  // namespace nosa::kv

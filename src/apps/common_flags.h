// Flags that every command which runs a model takes. The one table of them: common_flags.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/disk_place.h"
#include "apps/flags.h"
#include "engine/engine.h"

namespace nosa::apps {

// Values as given; "auto" is decided by session.cc, which knows the model and the machine.
struct CommonFlags {
  std::string model;
  std::string attention = "auto";
  std::string prefill = attention::AttentionOptions().dense_prefill ? "dense" : "sparse";
  std::optional<int> topk, query_topk;
  std::string dtype = "auto";
  int threads = 0;  // 0: all
  std::string backend = "auto";
  std::optional<uint64_t> gpu_memory, kv_device, kv_host;
  std::optional<DiskPlace> kv_disk;
  std::string kv_policy = engine::EngineOptions().kv_policy;
  std::string kv_codec = engine::EngineOptions().kv_codec;
  std::string kv_io = "auto";
  bool kv_direct = kv::TierOptions().direct_io;
  std::optional<int> prefill_chunk;  // session.h: PrefillChunk
  std::string decode = "auto";
  bool json = false;
  bool quiet = false;
};

// Which of them a command has: one that measures ops needs no model, one that only looks needs no --prefill.
struct CommonFlagSet {
  bool model = true;  // --model and what overrides the checkpoint
  bool model_required = true;
  bool attention = true;  // --attention, --prefill, --prefill-chunk, --decode
  bool backend = true;    // --threads, --backend
  bool gpu_memory = true;
  bool kv = true;      // --kv-*
  bool output = true;  // --json, --quiet
};

void AddCommonFlags(Command& command, CommonFlags* flags, const CommonFlagSet& which = {});

// --kv-disk alone, for a command that has not all of --kv-*.
void AddDiskFlag(Command& command, CommonFlags* flags, const std::string& help);

// What flags alone can tell, for Command::Does: a backend that is not built in, flags that need another.
Status CheckCommonFlags(const CommonFlags& flags);

}  // namespace nosa::apps

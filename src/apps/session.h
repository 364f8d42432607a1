// From common flags to an engine: the backend, the model, its tokenizer, and where KV goes. What every command that
// runs a model does first.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "apps/common_flags.h"
#include "engine/engine.h"
#include "model/model.h"
#include "ops/backend.h"
#include "text/tokenizer.h"

namespace nosa::apps {

// What the flags opened. Engines borrow the backend, and the model's weights may lie in its memory: destroy them first.
struct Session {
  CommonFlags flags;
  std::shared_ptr<ops::Backend> backend;
  std::shared_ptr<const model::Model> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;  // null: the model has none, or it is damaged
  Status tokenizer_error;                            // why, for who needs it
  double load_seconds = 0;

  // The tokenizer, or the sentence why there is none.
  Status NeedTokenizer() const { return tokenizer ? Status::Ok() : tokenizer_error; }
};

// The backend of --backend; auto: a GPU if there is one that this build can use, else the processors.
// kFailedPrecondition says in a sentence why the one asked for cannot be had.
Result<std::unique_ptr<ops::Backend>> MakeBackend(const CommonFlags& flags);
// The word of --kv-io.
io::AsyncBackend ParseIoBackend(const std::string& name);

// Also sets the log level (--quiet: warnings only).
Result<std::unique_ptr<Session>> OpenSession(const CommonFlags& flags);

// Whether decode steps are planned on the device, as far as flags and backend tell.
bool DecodesBySteps(const Session& session);

// Tokens of a prompt that are read at once: as --prefill-chunk says, else as many as the backend wants for its work.
int PrefillChunk(const Session& session);

// Engine options that the flags say, without tiers and without a bound.
engine::EngineOptions BaseEngineOptions(const Session& session);

// The most tokens a sequence of that prompt will hold. Never more than the model's positions: what asks for more is
// refused by the engine, which says so.
int SequenceTokens(const Session& session, size_t prompt_tokens, int max_tokens);

// kInvalidArgument when --context asks for more than the model reads.
Status CheckContext(const Session& session, int64_t tokens);

// What all KV of the sequences takes, by the engine's own arithmetic.
struct KvNeeds {
  uint64_t all_in_ram_bytes = 0;  // nothing is offloaded from here on
  uint64_t smallest_bytes = 0;    // of RAM, with a disk tier
  uint64_t disk_bytes = 0;        // on disk, with a disk tier
};
// `sequences`: the most tokens of each. `disk`: also what holds with that tier (else smallest is all in RAM, and disk
// 0); fails as the tier does.
Result<KvNeeds> PredictKv(const Session& session, std::span<const int> sequences, const std::optional<DiskPlace>& disk);

// RAM that KV may take without --kv-host: what is free, less what the rest of the program will need.
uint64_t FreeRamForKv(const Session& session, std::span<const int> sequences);

// What an engine's sequences do: kAnswer decodes, perhaps in steps that a device plans.
enum class Use : uint8_t { kAnswer, kPlannedAnswer, kRead };

// Which requests share the beginnings of their prompts (docs/prefix-reuse.md).
enum class PrefixSharing : uint8_t { kNone, kWithinTenant, kAcrossTenants };

// An engine for sequences of at most `sequences[i]` tokens each, open at the same time; logs one line when KV goes to
// disk because it does not fit, or when a device answers fewer at a time. kResourceExhausted says the smallest budget
// in bytes, or what would fit a device.
Result<std::unique_ptr<engine::Engine>> MakeEngine(const Session& session, std::span<const int> sequences,
                                                   Use use = Use::kAnswer,
                                                   PrefixSharing prefixes = PrefixSharing::kNone);

// "3.2 MiB (3355443 bytes)": for sizes that somebody may want to type.
std::string ExactSize(uint64_t bytes);

}  // namespace nosa::apps

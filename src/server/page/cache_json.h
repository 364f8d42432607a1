// What the page asks for, as JSON: how the engine is, and where the blocks of one request are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/cache_map.h"
#include "engine/service.h"
#include "io/json.h"

namespace nosa::server {

// Base64 of `values`, packed: a byte n < 128 is followed by n + 1 values as they are, n > 128 by one value that stands
// 257 - n times, 128 by nothing (PackBits). At most 1/128 longer than plain base64, and far shorter for runs.
std::string PackValues(std::span<const uint8_t> values);

// Steps ago in one byte: 0: none; else 1 + 8 log2(steps), which is exact up to 12 and within 5 % beyond; 255: unknown,
// or more than 2^31.
uint8_t AgeCode(uint32_t steps);

// {"id", "tokens", "block_size", "layers", "kv_heads", "seated", "tail", "blocks", "levels", "fast", "selected", "age",
// "shared", "locality", "queries", "hit_rate"}. `fast` and `selected` are lanes of each block, packed, as parts of
// `levels`, which is the number of lanes up to 255; rounded so that only none is 0 and only all is `levels`. `age`
// holds AgeCodes, `shared` 0 or 1. A million tokens in blocks of 64 take less than 66 KB.
io::OrderedJson CacheMapJson(const engine::CacheMap& map);

// {"model", "draining", "queued", "reading", "answering", "paused", "tokens_per_second", "tokens", "requests",
// "locality", "kv", "tiers", "answers"}: docs/page.md says what they are. Counts that only grow are since the start, so
// that whoever looks twice has what came in between. `answers`: those the asker may see.
io::OrderedJson StatusJson(const std::string& model, const engine::ServiceStats& stats,
                           std::span<const engine::AnswerInfo> answers);

}  // namespace nosa::server

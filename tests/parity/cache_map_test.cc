// The map of the cache against what the steps really selected, and against what the next step then finds where the map
// says it is.
#include <optional>

#include "kv/tier.h"
#include "tests/parity/engine_test_util.h"
#include "tests/parity/small_models.h"

namespace nosa::engine {
namespace {

constexpr int kPrompt = 700, kAnswer = 60;

Request Ask(uint64_t stream = 1) {
  Request request = {.prompt = RandomPrompt(kPrompt, stream), .max_tokens = kAnswer, .ignore_eos = true};
  for (TokenId& id : request.prompt) id = id % 257;
  return request;
}

// One layer and one KV head: a block is in the fastest tier, or it is not.
schema::ModelConfig OneLane() {
  schema::ModelConfig config = OneKvHead(false);
  config.num_layers = 1;
  return config;
}

// `slots`: of each lane, with a tier below; 0: everything stays in RAM.
Rig MakeSmall(const std::string& model, int slots) {
  RigOptions options;
  options.model = model;
  options.engine.prefill_chunk = 64;
  if (slots > 0) {
    kv::TierOptions tier;
    tier.capacity_bytes = 64 * kMiB;
    options.engine.cold = kv::MakeTier("memory", tier).value();
    const Rig probe = MakeRig(std::move(options));
    const kv::SequenceNeeds needs = probe.model->SequenceNeeds(kPrompt + kAnswer);
    const uint64_t smallest = probe.engine->store().SmallestBudget({&needs, 1});
    const uint64_t slot =
        probe.engine->store().block_record_bytes() * static_cast<uint64_t>(probe.model->block_layout().lanes());
    options = RigOptions();
    options.model = model;
    options.engine.prefill_chunk = 64;
    options.engine.cold = kv::MakeTier("memory", tier).value();
    options.engine.host_budget_bytes = smallest + slot * static_cast<uint64_t>(slots - probe.model->MinSlotsPerLane());
  }
  return MakeRig(std::move(options));
}

// Of every block, lanes that a step's record says selected it.
std::vector<uint32_t> SelectedBy(const Event& event, size_t blocks) {
  std::vector<uint32_t> lanes(blocks);
  for (const model::Selection& layer : event.selection->layers) {
    for (int g = 0; g < layer.kv_heads(); ++g) {
      model::ForEachBit(layer.Mask(event.selection_first_row, g), [&](int b) { ++lanes[static_cast<size_t>(b)]; });
    }
  }
  return lanes;
}

// Steps until a token of a recorded decode step comes; nothing at the end.
std::optional<Event> NextToken(Engine& engine) {
  std::vector<Event> events;
  while (engine.HasWork()) {
    events.clear();
    EXPECT_TRUE(engine.Step(&events).ok());
    for (Event& event : events) {
      if (event.kind == Event::Kind::kToken && event.selection != nullptr) return std::move(event);
    }
  }
  return std::nullopt;
}

TEST(CacheMapTest, SaysWhatTheLastStepSelectedAndHowLongAgo) {
  const Rig rig = MakeSmall(SmallCheckpoint("map_three_layers", OneKvHead(false), 3), 14);
  Request request = Ask();
  request.record_decode = true;
  request.keep_open = true;
  const RequestId id = rig.engine->Submit(std::move(request)).value();
  std::vector<int> last_seen;  // by block: decode step that selected it; -1: none did
  int step = 0, moved = 0;
  while (const std::optional<Event> token = NextToken(*rig.engine)) {
    const std::optional<CacheMap> map = rig.engine->Map(id);
    ASSERT_TRUE(map.has_value());
    EXPECT_EQ(map->tokens, kPrompt + step + 1);
    EXPECT_EQ(map->block_size, 16);
    EXPECT_EQ(map->layers * map->kv_heads, 3);
    ASSERT_EQ(map->blocks.size(), static_cast<size_t>((map->tokens + 15) / 16));
    const std::vector<uint32_t> selected = SelectedBy(*token, map->blocks.size());
    last_seen.resize(map->blocks.size(), -1);
    for (size_t b = 0; b < selected.size(); ++b) {
      if (selected[b] > 0) last_seen[b] = step;
      const CacheMap::Block& block = map->blocks[b];
      EXPECT_EQ(block.selected, selected[b]) << "block " << b << " in step " << step;
      if (last_seen[b] >= 0) {
        EXPECT_EQ(block.last_step, static_cast<uint32_t>(step - last_seen[b])) << "block " << b << " in step " << step;
      } else {
        EXPECT_GT(block.last_step, static_cast<uint32_t>(step)) << "block " << b << ": the prompt was read before";
      }
      EXPECT_EQ(block.tail, b + 1 == selected.size() && map->tokens % 16 != 0);
      EXPECT_LE(block.fast_lanes, 3);
      moved += block.fast_lanes < 3 ? 1 : 0;
    }
    ++step;
  }
  EXPECT_EQ(step, kAnswer - 1);  // the first token is the prompt's
  EXPECT_GT(moved, 0) << "everything stayed in RAM: nothing was tested";
  rig.engine->Release(id);
}

TEST(CacheMapTest, TheNextStepHitsWhatTheMapSaysIsInTheFastestTier) {
  const Rig rig = MakeSmall(SmallCheckpoint("map_one_lane", OneLane(), 3), 14);
  Request request = Ask();
  request.record_decode = true;
  request.keep_open = true;
  const RequestId id = rig.engine->Submit(std::move(request)).value();
  std::optional<CacheMap> before;
  uint64_t hits = 0, misses = 0;
  while (const std::optional<Event> token = NextToken(*rig.engine)) {
    const uint64_t now = rig.engine->stats().kv.hits;
    if (before) {
      uint64_t expected = 0, sealed = 0;
      const std::vector<uint32_t> selected = SelectedBy(*token, before->blocks.size() + 1);
      for (size_t b = 0; b < before->blocks.size(); ++b) {
        if (selected[b] == 0 || before->blocks[b].tail) continue;
        expected += before->blocks[b].fast_lanes;
        ++sealed;
      }
      EXPECT_EQ(now - hits, expected) << "after " << before->tokens << " tokens";
      misses += sealed - expected;
    }
    hits = now;
    before = rig.engine->Map(id);
  }
  EXPECT_GT(misses, 0u) << "nothing was ever missing: nothing was tested";
  EXPECT_LT(before->hit_rate, 1.0);
  EXPECT_GT(before->hit_rate, 0.3);
  rig.engine->Release(id);
}

TEST(CacheMapTest, LocalityIsTheSequencesOwn) {
  const Rig rig = MakeSmall(SmallCheckpoint("map_three_layers", OneKvHead(false), 3), 0);
  Request request = Ask();
  request.keep_open = true;
  const RequestId id = rig.engine->Submit(std::move(request)).value();
  RunAll(*rig.engine);
  const std::optional<CacheMap> map = rig.engine->Map(id);
  const model::LocalityStats alone = rig.engine->stats().decode_locality;
  EXPECT_EQ(map->queries, alone.queries);
  EXPECT_DOUBLE_EQ(map->locality, alone.mean());
  EXPECT_GT(map->queries, 0);

  Request other = Ask(2);
  other.keep_open = true;
  const RequestId second = rig.engine->Submit(std::move(other)).value();
  RunAll(*rig.engine);
  EXPECT_EQ(rig.engine->Map(id)->queries, alone.queries);
  const model::LocalityStats both = rig.engine->stats().decode_locality;
  EXPECT_EQ(rig.engine->Map(second)->queries, both.queries - alone.queries);
  rig.engine->Release(id);
  rig.engine->Release(second);
}

TEST(CacheMapTest, KnowsNothingOfClosedSequencesAndLittleOfFreshOnes) {
  const Rig rig = MakeSmall(SmallCheckpoint("map_three_layers", OneKvHead(false), 3), 0);
  const RequestId id = rig.engine->Submit(Ask()).value();
  const std::optional<CacheMap> fresh = rig.engine->Map(id);
  ASSERT_TRUE(fresh.has_value());
  EXPECT_EQ(fresh->tokens, 0);
  EXPECT_TRUE(fresh->blocks.empty());
  std::vector<Event> events;
  ASSERT_TRUE(rig.engine->Step(&events).ok());
  const std::optional<CacheMap> reading = rig.engine->Map(id);
  EXPECT_EQ(reading->blocks.size(), 4u);  // a chunk of 64 tokens
  for (const CacheMap::Block& block : reading->blocks) {
    EXPECT_EQ(block.fast_lanes, 3);
    EXPECT_EQ(block.last_step, 0u);
    EXPECT_FALSE(block.shared);
  }
  RunAll(*rig.engine);
  EXPECT_FALSE(rig.engine->Map(id).has_value());
  rig.engine->Release(id);
}

// The device's slots tell the same as the host's planner, as far back as they reach.
TEST(CacheMapTest, SeatsTellWhatTheirSlotsKnow) {
  const std::string model = SmallCheckpoint("map_three_layers", OneKvHead(false), 3);
  const Rig planned = MakeSmall(model, 0);
  Request request = Ask();
  request.record_decode = true;
  const RequestId a = planned.engine->Submit(request).value();

  RigOptions options;
  options.model = model;
  options.engine.prefill_chunk = 64;
  options.engine.decode.plan = DecodePlan::kStep;
  options.engine.decode.seats = 2;
  options.engine.decode.max_tokens = kPrompt + kAnswer;
  options.engine.decode.kv_bytes =
      kv::SeatStore::DeviceBytes({planned.model->block_layout(), 2, 16, kPrompt + kAnswer});
  const Rig seated = MakeRig(std::move(options));
  ASSERT_EQ(seated.engine->stats().seating.slots, 16);
  request.record_decode = false;
  const RequestId b = seated.engine->Submit(request).value();

  int compared = 0, forgotten = 0;
  std::vector<Event> events;
  while (planned.engine->HasWork() && seated.engine->HasWork()) {
    events.clear();
    ASSERT_TRUE(planned.engine->Step(&events).ok());
    ASSERT_TRUE(seated.engine->Step(&events).ok());
    const std::optional<CacheMap> expected = planned.engine->Map(a), map = seated.engine->Map(b);
    if (!map || !map->seated) continue;
    ASSERT_EQ(map->blocks.size(), expected->blocks.size());
    const int steps = map->tokens - kPrompt;
    for (size_t i = 0; i < map->blocks.size(); ++i) {
      const CacheMap::Block &block = map->blocks[i], &want = expected->blocks[i];
      EXPECT_EQ(block.selected, want.selected) << "block " << i << " at " << map->tokens << " tokens";
      if (block.last_step == UINT32_MAX) {
        EXPECT_EQ(block.fast_lanes, 0) << "block " << i;
        ++forgotten;
      } else if (want.last_step < static_cast<uint32_t>(steps)) {
        EXPECT_EQ(block.last_step, want.last_step) << "block " << i << " at " << map->tokens << " tokens";
        compared += want.last_step > 0 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(compared, 0);
  EXPECT_GT(forgotten, 0);
}

// Blocks that a device reads where they are leave no table of who was read.
TEST(CacheMapTest, SeatsWithoutSlotsKnowTheTailAlone) {
  RigOptions options;
  options.model = SmallCheckpoint("map_three_layers", OneKvHead(false), 3);
  options.engine.decode.plan = DecodePlan::kStep;
  options.engine.decode.seats = 1;
  options.engine.decode.max_tokens = kPrompt + kAnswer;
  const Rig rig = MakeRig(std::move(options));
  ASSERT_EQ(rig.engine->stats().seating.slots, 0);
  const RequestId id = rig.engine->Submit(Ask()).value();
  int maps = 0;
  std::vector<Event> events;
  while (rig.engine->HasWork()) {
    ASSERT_TRUE(rig.engine->Step(&events).ok());
    const std::optional<CacheMap> map = rig.engine->Map(id);
    if (!map || !map->seated) continue;
    ++maps;
    for (const CacheMap::Block& block : map->blocks) {
      EXPECT_EQ(block.fast_lanes, 3);
      EXPECT_EQ(block.last_step, &block == &map->blocks.back() ? 0 : UINT32_MAX);
    }
  }
  EXPECT_GT(maps, 10);
}

}  // namespace
}  // namespace nosa::engine

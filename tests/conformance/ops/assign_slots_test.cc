#include "ops/assign_slots.h"

#include <map>
#include <set>

#include "ops/advance_seats.h"
#include "ops/copy_blocks.h"
#include "seat_problem.h"

namespace nosa::ops {
namespace {

struct SlotShape {
  int seats, kv_heads, width, slots, blocks;
  std::string Name() const {
    return fmt::format("R {} G {} width {} slots {} of {} blocks", seats, kv_heads, width, slots, blocks);
  }
};

const SlotShape kShapes[] = {
    {3, 2, 6, 5, 40},   {3, 2, 6, 9, 40},      {2, 1, 1, 1, 20},      {2, 3, 2, 1, 30},
    {4, 1, 33, 32, 90}, {2, 2, 33, 48, 90},    {2, 2, 64, 63, 200},   {1, 2, 64, 130, 200},
    {1, 1, 5, 200, 60}, {2, 2, 129, 600, 700}, {1, 2, 300, 320, 500},
};

constexpr int kBlock = 4;

// What a step reads and leaves, except for its answer. Every block is one frame that begins with its tag.
class Lanes {
 public:
  Lanes(const SlotShape& shape, int slots)
      : shape_(shape), slots_(slots), frame_(MakeFrame(kBlock, 1, 1, DType::kF32, false)) {
    const size_t count = static_cast<size_t>(lanes());
    frames_.assign(count * static_cast<size_t>(slots + 1) * frame_.bytes, std::byte{0});
    blocks.assign(count * static_cast<size_t>(slots) + 1, -1);
    used.assign(count * static_cast<size_t>(slots) + 1, 0);
    homes_.assign(count * static_cast<size_t>(shape.blocks) * frame_.bytes, std::byte{0});
    for (size_t i = 0; i < count * static_cast<size_t>(shape.blocks); ++i) {
      pages_.push_back(homes_.data() + i * frame_.bytes);
      *reinterpret_cast<int32_t*>(pages_.back()) = static_cast<int32_t>(i) + 1;
    }
    positions.assign(static_cast<size_t>(shape.seats), -1);
    const size_t lists = count * static_cast<size_t>(shape.width);
    ids.assign(lists, -1);
    counts.assign(count, 0);
    addresses.assign(lists + 1, nullptr);
    arrivals.assign(lists + 1, kBefore);
    copies.assign(lists + 1, {});
  }
  Lanes(const Lanes&) = delete;

  // A sequence of `tokens` tokens takes a seat.
  void Seat(int seat, int tokens) {
    positions[static_cast<size_t>(seat)] = tokens;
    const ptrdiff_t each = ptrdiff_t{shape_.kv_heads} * slots_;
    std::fill_n(blocks.begin() + seat * each, each, -1);
  }

  // Selections that share most of their blocks with those of the step before; own always, but in one of eight steps.
  void Select(int at) {
    for (int lane = 0; lane < lanes(); ++lane) {
      const int32_t pos = positions[static_cast<size_t>(lane / shape_.kv_heads)], own = pos / kBlock;
      int32_t& count = counts[static_cast<size_t>(lane)];
      const uint64_t draw = static_cast<uint64_t>(at * 64 + lane);
      std::set<int32_t> chosen;
      if (pos >= 0) {
        const Philox rng(3);
        const int32_t* before = ids.data() + lane * shape_.width;
        for (int i = 0; i < count; ++i) {
          if (Draw(rng, draw * 1024 + static_cast<uint64_t>(i), 5) != 0 && before[i] < own) chosen.insert(before[i]);
        }
        int want = std::min(own, shape_.width - 1);
        if (Draw(rng, draw * 1024 + 900, 6) == 0) want /= 2;  // fewer than there is room for
        for (uint64_t i = 0; static_cast<int>(chosen.size()) < want && i < 5000; ++i)
          chosen.insert(Draw(rng, draw * 8192 + i + (uint64_t{1} << 50), own));
        while (static_cast<int>(chosen.size()) > want) chosen.erase(std::prev(chosen.end()));
        if (Draw(rng, draw * 1024 + 901, 8) != 0) chosen.insert(own);
      }
      count = static_cast<int32_t>(chosen.size());
      std::copy(chosen.begin(), chosen.end(), ids.begin() + lane * shape_.width);
    }
  }

  void Assign(Backend& backend, bool counted = true) {
    copy_count[0] = 0;
    std::fill(addresses.begin(), addresses.end(), nullptr);
    std::fill(arrivals.begin(), arrivals.end(), kBefore);
    assign_slots(backend, {},
                 {.selection = {ids.data(), counts.data(), shape_.width},
                  .positions = positions,
                  .lanes = {frames_.data(), slots_ == 0 ? nullptr : blocks.data(), slots_ == 0 ? nullptr : used.data(),
                            pages_.data(), shape_.seats, shape_.kv_heads, slots_, shape_.blocks},
                  .frame = frame_,
                  .step = step.data(),
                  .addresses = addresses.data(),
                  .arrivals = arrivals.data(),
                  .copies = copies.data(),
                  .copy_count = copy_count.data(),
                  .counters = counted ? counters.data() : nullptr});
  }
  void Copy(Backend& backend) {
    copy_blocks(backend, {}, {copies.data(), copy_count.data(), lanes() * shape_.width, frame_.bytes, 0});
  }
  // The tail is in its own slot, as append_token keeps it.
  void WriteTails() {
    for (int lane = 0; lane < lanes(); ++lane) {
      const int32_t pos = positions[static_cast<size_t>(lane / shape_.kv_heads)];
      if (pos >= 0) *reinterpret_cast<int32_t*>(Frame(lane, slots_)) = Tag(lane, pos / kBlock);
    }
  }
  void Advance(Backend& backend) { advance_seats(backend, {}, {positions.data(), shape_.seats, step.data()}); }

  int lanes() const { return shape_.seats * shape_.kv_heads; }
  std::byte* Frame(int lane, int slot) {
    return frames_.data() + static_cast<size_t>(lane * (slots_ + 1) + slot) * frame_.bytes;
  }
  std::byte* Page(int lane, int block) { return pages_[static_cast<size_t>(lane * shape_.blocks + block)]; }
  int32_t Tag(int lane, int block) const { return lane * shape_.blocks + block + 1; }
  // Which frame or page of this object an address is: the same number in another.
  int64_t Place(const std::byte* p) const {
    if (p == nullptr) return -1;
    if (p >= frames_.data() && p < frames_.data() + frames_.size()) return p - frames_.data();
    if (p >= homes_.data() && p < homes_.data() + homes_.size()) return (int64_t{1} << 40) + (p - homes_.data());
    return -2;
  }
  std::multiset<std::pair<int64_t, int64_t>> Copies() const {
    std::multiset<std::pair<int64_t, int64_t>> all;
    for (int i = 0; i < copy_count[0]; ++i)
      all.insert({Place(copies[static_cast<size_t>(i)].from), Place(copies[static_cast<size_t>(i)].to)});
    return all;
  }
  std::vector<int64_t> Addresses() const {
    std::vector<int64_t> all;
    for (const std::byte* p : addresses) all.push_back(Place(p));
    return all;
  }
  // The copy that each block waits for, as places; {0, 0}: none.
  std::vector<std::pair<int64_t, int64_t>> Arrivals() const {
    std::vector<std::pair<int64_t, int64_t>> all;
    for (const int32_t arrival : arrivals) {
      if (arrival <= 0) {
        all.emplace_back(arrival, arrival);
      } else {
        const BlockCopy& copy = copies[static_cast<size_t>(arrival - 1)];
        all.emplace_back(Place(copy.from), Place(copy.to));
      }
    }
    return all;
  }
  std::vector<unsigned long long> Counted() const {
    const SlotCounters& c = counters[0];
    return {c.selected, c.missing, c.repeated, c.selected_all};
  }

  static constexpr int32_t kBefore = -7;  // where nothing is written

  TestVector<int32_t> positions, ids, counts, blocks, used;
  TestVector<int32_t> step = {1}, copy_count = {0};
  TestVector<std::byte*> addresses;
  TestVector<int32_t> arrivals;
  TestVector<BlockCopy> copies;
  TestVector<SlotCounters> counters = TestVector<SlotCounters>(1);

 private:
  SlotShape shape_;
  int slots_;
  BlockFrame frame_;
  TestVector<std::byte> frames_, homes_;
  TestVector<std::byte*> pages_;
};

// Who sits when: one from the start, one that comes late, one that leaves and is followed by a shorter sequence.
void ChangeSeats(const SlotShape& shape, int at, Lanes* lanes) {
  const int most = shape.blocks * kBlock;
  if (at == 0) lanes->Seat(0, most / 3);
  if (at == 7 && shape.seats > 1) lanes->Seat(1, 0);
  if (at == 3 && shape.seats > 2) lanes->Seat(2, most / 4);
  if (at == 60 && shape.seats > 2) lanes->positions[2] = -1;
  if (at == 64 && shape.seats > 2) lanes->Seat(2, 5);
}

int Steps(const SlotShape& shape) { return std::min(200, shape.blocks * kBlock / 2); }

TEST(assign_slots, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SlotShape& shape : kShapes) {
    for (const int slots : {shape.slots, 0}) {
      for (const BackendCase& backend_case : BackendCases()) {
        SCOPED_TRACE(fmt::format("{} {} ({} slots)", backend_case.name, shape.Name(), slots));
        const auto backend = backend_case.make();
        Lanes expected(shape, slots), found(shape, slots);
        for (int at = 0; at < Steps(shape); ++at) {
          const auto run = [&](Backend& b, Lanes& lanes) {
            ChangeSeats(shape, at, &lanes);
            lanes.Select(at);
            lanes.Assign(b, at % 10 != 9);
            lanes.Advance(b);
          };
          run(*reference, expected);
          run(*backend, found);
          ASSERT_EQ(expected.ids, found.ids);
          ASSERT_EQ(expected.blocks, found.blocks) << "step " << at;
          ASSERT_EQ(expected.used, found.used) << "step " << at;
          ASSERT_EQ(expected.Arrivals(), found.Arrivals()) << "step " << at;
          ASSERT_EQ(expected.Addresses(), found.Addresses()) << "step " << at;
          ASSERT_EQ(expected.Copies(), found.Copies()) << "step " << at;
          ASSERT_EQ(expected.Counted(), found.Counted()) << "step " << at;
        }
      }
    }
  }
}

// What one lane should hold, kept in another way: blocks in the order of their last use.
struct Model {
  std::map<int32_t, std::pair<int, int>> held;  // block: {step of its last use, slot}
  std::set<int32_t> before;                     // selected in the step before
};

// Brings the model to the next step; expects blocks and counts from it.
struct Answer {
  std::map<int32_t, int> slot_of;
  std::set<int32_t> missing;
};

Answer Step(const std::set<int32_t>& selected, int32_t own, int slots, int now, Model* model) {
  Answer answer;
  for (const int32_t block : selected) {
    if (block == own) continue;
    const auto at = model->held.find(block);
    if (at == model->held.end()) {
      answer.missing.insert(block);
    } else {
      answer.slot_of[block] = at->second.second;
    }
  }
  std::vector<std::pair<int, int>> free;  // {age, slot}
  std::set<int> full;
  for (const auto& [block, place] : model->held) {
    full.insert(place.second);
    if (!selected.contains(block)) free.push_back(place);
  }
  for (int slot = 0; slot < slots; ++slot) {
    if (!full.contains(slot)) free.emplace_back(-1, slot);
  }
  std::sort(free.begin(), free.end());
  size_t next = 0;
  for (const int32_t block : answer.missing) {
    const int slot = free.at(next++).second;
    std::erase_if(model->held, [&](const auto& each) { return each.second.second == slot; });
    answer.slot_of[block] = slot;
  }
  for (const auto& [block, slot] : answer.slot_of) model->held[block] = {now, slot};
  return answer;
}

// 200 steps: every address holds its block once the copies are done; no two blocks share a slot; who goes is who was
// used longest ago; only what is missing is copied, and waited for; the counters add up.
TEST(assign_slots, EveryAddressHoldsItsBlock) {
  for (const auto& backend : BackendsAndReference()) {
    for (const SlotShape& shape : kShapes) {
      SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
      Lanes lanes(shape, shape.slots);
      std::vector<Model> models(static_cast<size_t>(lanes.lanes()));
      unsigned long long selected = 0, missing = 0, all = 0, repeated = 0;
      for (int at = 0; at < Steps(shape); ++at) {
        const TestVector<int32_t> sat = lanes.positions;
        ChangeSeats(shape, at, &lanes);
        const int now = lanes.step[0];
        lanes.WriteTails();
        lanes.Select(at);
        lanes.Assign(*backend);
        lanes.Copy(*backend);
        size_t lost = 0;
        for (int lane = 0; lane < lanes.lanes(); ++lane) {
          const size_t seat = static_cast<size_t>(lane / shape.kv_heads), l = static_cast<size_t>(lane);
          const int32_t pos = lanes.positions[seat], own = pos / kBlock;
          const int32_t* arrivals = lanes.arrivals.data() + lane * shape.width;
          Model& model = models[l];
          if (sat[seat] != pos) model = {};
          const int count = pos < 0 ? 0 : lanes.counts[l];
          for (int i = count; i < shape.width; ++i) ASSERT_EQ(arrivals[i], Lanes::kBefore);
          if (pos < 0) continue;
          const int32_t* ids = lanes.ids.data() + lane * shape.width;
          const std::set<int32_t> chosen(ids, ids + count);
          // The token before read its own block: what it did not select by itself still counts as read.
          std::set<int32_t> before = model.before;
          if (pos > 0) before.insert((pos - 1) / kBlock);
          for (const int32_t block : chosen) {
            const bool tail = block == own || (pos % kBlock == 0 && block == own - 1);
            repeated += tail ? before.contains(block) : model.before.contains(block);
          }
          const Answer answer = Step(chosen, own, shape.slots, now, &model);
          model.before = chosen;
          std::set<const std::byte*> places;
          for (int i = 0; i < count; ++i) {
            const std::byte* address = lanes.addresses[static_cast<size_t>(lane * shape.width + i)];
            ASSERT_EQ(*reinterpret_cast<const int32_t*>(address), lanes.Tag(lane, ids[i])) << "block " << ids[i];
            ASSERT_TRUE(places.insert(address).second) << "two blocks in a slot";
            ASSERT_EQ(address, lanes.Frame(lane, ids[i] == own ? shape.slots : answer.slot_of.at(ids[i])))
                << "block " << ids[i] << " of lane " << lane << " in step " << at;
            if (!answer.missing.contains(ids[i])) {
              ASSERT_EQ(arrivals[i], 0) << "block " << ids[i];
              continue;
            }
            ASSERT_TRUE(arrivals[i] > 0 && arrivals[i] <= lanes.copy_count[0]) << arrivals[i];
            const BlockCopy& copy = lanes.copies[static_cast<size_t>(arrivals[i] - 1)];
            ASSERT_EQ(copy.from, lanes.Page(lane, ids[i]));
            ASSERT_EQ(copy.to, address);
          }
          for (int slot = 0; slot < shape.slots; ++slot) {
            const size_t in = static_cast<size_t>(lane * shape.slots + slot);
            const int32_t block = lanes.blocks[in];
            const auto held = model.held.find(block);
            ASSERT_EQ(block < 0, std::none_of(
                                     model.held.begin(), model.held.end(),
                                     [&](const auto& each) { return each.second.second == slot; }));
            if (block < 0) continue;
            ASSERT_TRUE(held != model.held.end() && held->second.second == slot);
            ASSERT_EQ(lanes.used[in], held->second.first);
          }
          all += static_cast<unsigned long long>(count);
          selected += static_cast<unsigned long long>(count) - (chosen.contains(own) ? 1 : 0);
          missing += answer.missing.size();
          lost += answer.missing.size();
        }
        ASSERT_EQ(static_cast<size_t>(lanes.copy_count[0]), lost);
        ASSERT_EQ(lanes.arrivals.back(), Lanes::kBefore);
        ASSERT_EQ(lanes.addresses.back(), nullptr);
        ASSERT_EQ(lanes.Counted(), (std::vector<unsigned long long>{selected, missing, repeated, all}))
            << "step " << at;
        lanes.Advance(*backend);
      }
      ASSERT_GT(all, 0u);
      if (shape.width > 2 && shape.blocks > shape.slots) {
        EXPECT_GT(missing, 0u);
        EXPECT_GT(repeated, 0u);
      }
    }
  }
}

TEST(assign_slots, WithoutSlotsBlocksAreReadAtHome) {
  for (const auto& backend : BackendsAndReference()) {
    for (const SlotShape& shape : kShapes) {
      SCOPED_TRACE(std::string(backend->name()) + " " + shape.Name());
      Lanes lanes(shape, 0);
      for (int at = 0; at < 70; ++at) {
        ChangeSeats(shape, at, &lanes);
        lanes.Select(at);
        lanes.Assign(*backend);
        ASSERT_EQ(lanes.copy_count[0], 0);
        for (int lane = 0; lane < lanes.lanes(); ++lane) {
          for (int i = 0; i < lanes.counts[static_cast<size_t>(lane)]; ++i) {
            const size_t entry = static_cast<size_t>(lane * shape.width + i);
            ASSERT_EQ(lanes.addresses[entry], lanes.Page(lane, lanes.ids[entry]));
            ASSERT_EQ(lanes.arrivals[entry], 0);
          }
        }
        ASSERT_EQ(lanes.Counted(), (std::vector<unsigned long long>(4, 0)));
        lanes.Advance(*backend);
      }
    }
  }
}

// `copies` of several layers may share a list.
TEST(assign_slots, CopiesAreAppended) {
  for (const auto& backend : BackendsAndReference()) {
    const SlotShape shape = {1, 1, 3, 2, 10};
    Lanes lanes(shape, 2);
    lanes.Seat(0, 30);
    lanes.ids = {1, 4, 7};
    lanes.counts = {3};
    // Assign sets the count to 0; do it again by hand from 1.
    lanes.copy_count = {1};
    lanes.copies[0] = {lanes.Page(0, 9), nullptr};
    const BlockFrame frame = MakeFrame(kBlock, 1, 1, DType::kF32, false);
    TestVector<std::byte*> pages;
    for (int b = 0; b < 10; ++b) pages.push_back(lanes.Page(0, b));
    assign_slots(*backend, {},
                 {.selection = {lanes.ids.data(), lanes.counts.data(), 3},
                  .positions = lanes.positions,
                  .lanes = {lanes.Frame(0, 0), lanes.blocks.data(), lanes.used.data(), pages.data(), 1, 1, 2, 10},
                  .frame = frame,
                  .step = lanes.step.data(),
                  .addresses = lanes.addresses.data(),
                  .arrivals = lanes.arrivals.data(),
                  .copies = lanes.copies.data(),
                  .copy_count = lanes.copy_count.data()});
    EXPECT_EQ(lanes.copy_count[0], 3) << backend->name();
    EXPECT_EQ(lanes.copies[0].from, lanes.Page(0, 9)) << backend->name();
    EXPECT_EQ(lanes.copies[0].to, nullptr) << backend->name();
    EXPECT_EQ(std::min(lanes.arrivals[0], lanes.arrivals[1]), 2)
        << backend->name() << ": the list is counted from its start";
    EXPECT_EQ(std::max(lanes.arrivals[0], lanes.arrivals[1]), 3) << backend->name();
    EXPECT_EQ(lanes.arrivals[2], 0) << backend->name() << ": the tail";
    EXPECT_EQ(lanes.counters[0].selected, 0u) << "not counted where nobody asks";
  }
}

}  // namespace
}  // namespace nosa::ops

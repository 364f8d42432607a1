#include "ops/select_blocks.h"

#include <set>

#include "seat_problem.h"

namespace nosa::ops {
namespace {

struct ReplayShape {
  int init, local, picks, block, rows, steps, lanes, lane, stagger;
  std::string Name() const {
    return fmt::format("{} first, {} local, {} picks, B {}, {} rows of {} steps, lane {} of {}, stagger {}", init,
                       local, picks, block, rows, steps, lane, lanes, stagger);
  }
};

const ReplayShape kShapes[] = {
    {1, 16, 47, 64, 3, 5, 8, 4, 1}, {1, 4, 27, 64, 1, 1, 2, 0, 0},  {0, 0, 12, 16, 2, 7, 6, 2, 3},
    {2, 8, 0, 16, 1, 3, 2, 0, 5},   {5, 3, 300, 16, 4, 2, 2, 0, 2},
};
constexpr int kHeads = 2, kPlaces = 1100;

struct Replayed {
  TestVector<int32_t> ids, counts;
};

class Replay {
 public:
  explicit Replay(const ReplayShape& shape) : shape_(shape), width_(shape.init + shape.local + 1 + shape.picks) {
    const int lists = shape.rows * shape.steps * shape.lanes;
    for (int i = 0; i < lists; ++i) {
      const std::vector<int32_t> set = DrawSet(Philox(5), static_cast<uint64_t>(i), kPlaces, shape.picks);
      // Not in order, and now and then a place that no sequence has.
      for (size_t j = 0; j < set.size(); ++j)
        picks_.push_back(j % 9 == 8 ? static_cast<uint16_t>(65535 - j)
                                    : static_cast<uint16_t>(set[set.size() - 1 - j]));
    }
    picks_.push_back(0);
    const int b = shape.block;
    positions_ = {
        0,       -1, b - 1, b, (shape.init + shape.local) * b, 20 * b + 1, 40 * b - 1, 700 * b + b / 2, 1099 * b + 3,
        1100 * b};
  }

  Replayed Run(Backend& backend, int step) const {
    const size_t lanes = positions_.size() * kHeads;
    Replayed out = {TestVector<int32_t>(lanes * static_cast<size_t>(width_) + 1, -7),
                    TestVector<int32_t>(lanes + 1, -7)};
    const TestVector<int32_t> now = {step};
    const RandomTensor q(DType::kF32, {seats(), kHeads, 16}, 3);
    const TestVector<WindowState> states(lanes);
    select_blocks(backend, {},
                  {.q = q.view,
                   .positions = positions_,
                   .states = states,
                   .rule = {.init_blocks = shape_.init, .local_blocks = shape_.local},
                   .kv_heads = kHeads,
                   .block_size = shape_.block,
                   .kernel_size = 8,
                   .kernel_stride = 4,
                   .max_blocks = kPlaces + 1,
                   .selection = {out.ids.data(), out.counts.data(), width_},
                   .replay = {{picks_.data(), shape_.rows, shape_.steps, shape_.lanes, shape_.picks},
                              shape_.lane,
                              now.data(),
                              shape_.stagger}});
    return out;
  }

  // By the words of the header.
  std::vector<int32_t> Expected(int seat, int g, int step) const {
    const int32_t pos = positions_[static_cast<size_t>(seat)];
    if (pos < 0) return {};
    const int own = pos / shape_.block;
    std::set<int32_t> forced, all;
    for (int b = 0; b <= own; ++b) {
      if (b < shape_.init || own - b <= shape_.local) forced.insert(b);
    }
    std::vector<int32_t> others;
    for (int b = 0; b <= own; ++b) {
      if (!forced.contains(b)) others.push_back(b);
    }
    all = forced;
    const int row = seat % shape_.rows, at = (step + shape_.stagger * seat) % shape_.steps;
    const int list = (row * shape_.steps + at) * shape_.lanes + shape_.lane + g;
    for (int i = 0; i < shape_.picks; ++i) {
      const size_t place = picks_[static_cast<size_t>(list * shape_.picks + i)];
      if (place < others.size()) all.insert(others[place]);
    }
    return {all.begin(), all.end()};
  }
  int seats() const { return static_cast<int>(positions_.size()); }
  int width() const { return width_; }

 private:
  ReplayShape shape_;
  int width_;
  TestVector<uint16_t> picks_;
  std::vector<int32_t> positions_;
};

TEST(select_blocks_replay, MatchesTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const ReplayShape& shape : kShapes) {
    const Replay replay(shape);
    for (const BackendCase& backend : BackendCases()) {
      for (const int step : {1, 2, 3, 1000}) {
        SCOPED_TRACE(fmt::format("{}, step {}, {}", backend.name, step, shape.Name()));
        const Replayed expected = replay.Run(*reference, step), found = replay.Run(*backend.make(), step);
        ASSERT_EQ(expected.counts, found.counts);
        for (int lane = 0; lane < replay.seats() * kHeads; ++lane) {
          for (int i = 0; i < expected.counts[static_cast<size_t>(lane)]; ++i) {
            const size_t at = static_cast<size_t>(lane * replay.width() + i);
            ASSERT_EQ(expected.ids[at], found.ids[at]) << "lane " << lane;
          }
        }
        ASSERT_EQ(found.ids.back(), -7);
        ASSERT_EQ(found.counts.back(), -7);
      }
    }
  }
}

TEST(select_blocks_replay, TwinIsForcedBlocksAndPicks) {
  for (const ReplayShape& shape : kShapes) {
    SCOPED_TRACE(shape.Name());
    const Replay replay(shape);
    for (const int step : {1, 4, 9}) {
      const Replayed found = replay.Run(*reference::MakeReferenceBackend(), step);
      for (int seat = 0; seat < replay.seats(); ++seat) {
        for (int g = 0; g < kHeads; ++g) {
          const int lane = seat * kHeads + g;
          const int32_t* ids = found.ids.data() + lane * replay.width();
          ASSERT_EQ(std::vector<int32_t>(ids, ids + found.counts[static_cast<size_t>(lane)]),
                    replay.Expected(seat, g, step))
              << "seat " << seat << " head " << g;
        }
      }
    }
  }
}

}  // namespace
}  // namespace nosa::ops

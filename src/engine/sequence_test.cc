#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "base/rng.h"

namespace nosa::engine {

bool operator==(const Pass& a, const Pass& b) {
  return std::tie(a.first, a.tokens, a.prefill) == std::tie(b.first, b.tokens, b.prefill);
}

namespace {

// A log written down position by position: which prefill chunk (by its start) or single step made it.
struct SlowLog {
  std::vector<TokenPos> chunk;  // start of the chunk that made this position; -1: a single step

  void Add(int tokens, bool prefill) {
    const auto first = static_cast<TokenPos>(chunk.size());
    for (int i = 0; i < tokens; ++i) chunk.push_back(prefill ? first : -1);
  }
  // Repeating passes from here on repeats whole ones.
  bool Restarts(TokenPos pos) const {
    return chunk[static_cast<size_t>(pos)] == -1 || chunk[static_cast<size_t>(pos)] == pos;
  }
  TokenPos RestartBefore(TokenPos pos, int block) const {
    TokenPos best = pos / block * block;
    while (best > 0 && !Restarts(best)) best -= block;
    return best;
  }
};

void ExpectSame(const PassLog& log, const SlowLog& slow) {
  std::vector<TokenPos> made;
  for (const Pass& pass : log.passes()) {
    EXPECT_EQ(pass.first, static_cast<TokenPos>(made.size())) << "passes are in order, without gaps";
    EXPECT_GT(pass.tokens, 0);
    for (int i = 0; i < pass.tokens; ++i) made.push_back(pass.prefill ? pass.first : -1);
  }
  EXPECT_EQ(made, slow.chunk);
}

TEST(PassLogTest, WholeChunksAreThoseFromTheStartOn) {
  PassLog log;
  EXPECT_EQ(log.WholeChunks(8), 0);
  log.Add(0, 8, true);
  log.Add(8, 8, true);
  EXPECT_EQ(log.WholeChunks(8), 2);
  EXPECT_EQ(log.WholeChunks(4), 0);
  log.Add(16, 8, false);
  EXPECT_EQ(log.WholeChunks(8), 2) << "single steps are no chunk, however many";
  log.Add(24, 8, true);
  EXPECT_EQ(log.WholeChunks(8), 2);
  log.Cut(16);
  log.Add(16, 5, true);
  EXPECT_EQ(log.WholeChunks(8), 2) << "nor is a shorter piece";
}

TEST(PassLogTest, AgreesWithALogByPosition) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    const Philox rng(seed);
    uint64_t draw = 0;
    const auto below = [&](uint32_t n) { return static_cast<int>(rng.Block(draw++)[0] % n); };
    const int block = 1 + below(8);
    PassLog log;
    SlowLog slow;
    for (int step = 0; step < 12; ++step) {
      const auto length = static_cast<TokenPos>(slow.chunk.size());
      const bool prefill = below(2) == 0;
      const int tokens = 1 + below(prefill ? 20 : 5);
      for (int i = 0; i < (prefill ? 1 : tokens); ++i) log.Add(length + i, prefill ? tokens : 1, prefill);
      slow.Add(tokens, prefill);
      if (below(4) == 0) {
        const int wanted = below(static_cast<uint32_t>(slow.chunk.size()) + 1);
        int keep = wanted;  // back to where no chunk is cut
        while (keep < static_cast<int>(slow.chunk.size()) && !slow.Restarts(keep)) --keep;
        EXPECT_EQ(log.WholeBefore(wanted), keep);
        log.Cut(keep);
        slow.chunk.resize(static_cast<size_t>(keep));
      }
      ExpectSame(log, slow);
    }
    for (TokenPos pos = 0; pos < static_cast<TokenPos>(slow.chunk.size()); ++pos) {
      EXPECT_EQ(log.RestartBefore(pos, block), slow.RestartBefore(pos, block)) << "pos " << pos << " block " << block;
    }
  }
}

TEST(PassLogTest, FromRepeatsWhatWasDone) {
  PassLog log;
  log.Add(0, 100, true);
  log.Add(100, 28, true);
  for (int i = 0; i < 40; ++i) log.Add(128 + i, 1, false);
  log.Add(168, 10, true);
  EXPECT_EQ(log.passes().size(), 4u) << "single steps are one run";
  EXPECT_EQ(log.From(0), log.passes());
  EXPECT_EQ(log.From(150), (std::vector<Pass>{{150, 18, false}, {168, 10, true}}));
  EXPECT_EQ(log.From(168), (std::vector<Pass>{{168, 10, true}}));
  EXPECT_EQ(log.From(178), (std::vector<Pass>{}));
  EXPECT_EQ(log.RestartBefore(130, 64), 128);
  EXPECT_EQ(log.RestartBefore(127, 64), 0) << "the second chunk starts inside a block, so the first is needed, too";
  EXPECT_EQ(PassLog().RestartBefore(0, 64), 0);
  log.Cut(0);
  EXPECT_TRUE(log.passes().empty());
}

// n as CertainText promises it, by trying: text before n cannot become part of a stop string, whatever follows.
size_t SlowCertain(std::string_view text, const std::vector<std::string>& stops, bool* stopped) {
  *stopped = false;
  for (size_t i = 0; i <= text.size(); ++i) {
    for (const std::string& stop : stops) {
      if (text.substr(i).starts_with(stop)) {
        *stopped = true;
        return i;
      }
    }
  }
  for (size_t i = 0; i < text.size(); ++i) {
    for (const std::string& stop : stops) {
      if (std::string_view(stop).starts_with(text.substr(i))) return i;
    }
  }
  return text.size();
}

std::string RandomText(const Philox& rng, uint64_t* draw, int least, int most) {
  std::string text(
      static_cast<size_t>(least + static_cast<int>(rng.Block((*draw)++)[0] % static_cast<uint32_t>(most - least + 1))),
      ' ');
  for (char& c : text) c = static_cast<char>('a' + rng.Block((*draw)++)[0] % 2);
  return text;
}

TEST(CertainTextTest, AgreesWithTrying) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    const Philox rng(seed);
    uint64_t draw = 0;
    std::vector<std::string> stops;
    for (uint64_t i = 0; i < seed % 4; ++i) stops.push_back(RandomText(rng, &draw, 1, 4));
    const std::string text = RandomText(rng, &draw, 0, 7);
    bool stopped = false, slow_stopped = false;
    const size_t certain = CertainText(text, stops, &stopped);
    EXPECT_EQ(certain, SlowCertain(text, stops, &slow_stopped)) << text << ' ' << testing::PrintToString(stops);
    EXPECT_EQ(stopped, slow_stopped);
  }
}

// As the engine uses it: what is shown piece by piece is what comes before the first stop string of the whole.
TEST(CertainTextTest, PiecesShowWhatComesBeforeTheFirstStop) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const Philox rng(seed, 1);
    uint64_t draw = 0;
    const std::vector<std::string> stops = {RandomText(rng, &draw, 1, 5), RandomText(rng, &draw, 2, 5)};
    const std::string text = RandomText(rng, &draw, 0, 12);
    std::string shown, held;
    bool stopped = false;
    for (size_t i = 0; i < text.size() && !stopped; ++i) {
      held += text[i];
      const size_t certain = CertainText(held, stops, &stopped);
      shown += held.substr(0, certain);
      held.erase(0, certain);
    }
    // The stop that ends first is seen first; of those, the one that begins first counts.
    size_t end = std::string::npos, begin = text.size();
    for (size_t last = 1; last <= text.size() && end == std::string::npos; ++last) {
      for (const std::string& stop : stops) {
        if (!std::string_view(text).substr(0, last).ends_with(stop)) continue;
        end = last;
        begin = std::min(begin, last - stop.size());
      }
    }
    EXPECT_EQ(stopped, end != std::string::npos);
    EXPECT_EQ(stopped ? shown : shown + held, text.substr(0, begin)) << text << ' ' << testing::PrintToString(stops);
  }
}

TEST(CertainTextTest, Examples) {
  bool stopped = false;
  EXPECT_EQ(CertainText("12345.", {".", "\n"}, &stopped), 5u);
  EXPECT_TRUE(stopped);
  EXPECT_EQ(CertainText("one </st", {"</stop>"}, &stopped), 4u);
  EXPECT_FALSE(stopped);
  EXPECT_EQ(CertainText("nothing to stop", {}, &stopped), 15u);
  EXPECT_EQ(CertainText("", {"x"}, &stopped), 0u);
}

TEST(FinishReasonTest, EveryReasonHasAName) {
  for (const FinishReason reason : {FinishReason::kNone, FinishReason::kEos, FinishReason::kStop, FinishReason::kLength,
                                    FinishReason::kCancelled, FinishReason::kError}) {
    EXPECT_NE(FinishReasonName(reason), "unknown");
  }
}

}  // namespace
}  // namespace nosa::engine

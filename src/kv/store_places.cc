#include "kv/store.h"

namespace nosa::kv {

std::vector<BlockPlace> KvStore::Places(SeqId seq) const {
  const std::vector<PageId>& pages = At(seq).pages;
  std::vector<BlockPlace> places(static_cast<size_t>(sealed_blocks(seq)));
  for (size_t i = 0; i < places.size(); ++i) {
    const Page& page = pages_[static_cast<size_t>(pages[i].value)];
    places[i].used_in = page.used_in;
    places[i].shared = page.refs > 1;
  }
  // Lane by lane: each keeps its table of pages in one piece. No block is on its way while nothing is fetched.
  for (const LaneCache& lane : lanes_) {
    for (size_t i = 0; i < places.size(); ++i) {
      places[i].fast_lanes += lane.Find(pages[i]) >= 0 ? 1 : 0;
    }
  }
  return places;
}

}  // namespace nosa::kv

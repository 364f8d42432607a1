#include "kv/codec.h"

#include <fmt/format.h>

namespace nosa::kv {

#define NOSA_CODEC(name, factory) std::unique_ptr<KvCodec> factory();
#include "kv/codecs/codecs.def"
#undef NOSA_CODEC

namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<KvCodec> (*make)();
};

constexpr Entry kEntries[] = {
#define NOSA_CODEC(name, factory) {name, factory},
#include "kv/codecs/codecs.def"
#undef NOSA_CODEC
};

}  // namespace

Result<std::unique_ptr<KvCodec>> MakeCodec(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.make();
  }
  return InvalidArgument("expected a KV codec ({}), found \"{}\"", fmt::join(CodecNames(), ", "), name);
}

std::vector<std::string> CodecNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

}  // namespace nosa::kv

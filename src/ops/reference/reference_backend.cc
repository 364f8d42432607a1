#include "ops/reference/reference_backend.h"

#include "ops/host_backend.h"

namespace nosa::ops::reference {
namespace {

class ReferenceBackend final : public HostBackend {
 public:
  std::string_view name() const override { return "reference"; }
  std::string Describe() const override { return "scalar reference, 1 thread"; }
  int threads() const override { return 1; }
  const OpTable& table() const override {
    static constexpr OpTable kTable = {
#define NOSA_OP(name, Args) .name = &reference::name,
#include "ops/ops.def"
#undef NOSA_OP
    };
    return kTable;
  }
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace nosa::ops::reference

#include "goldens.h"

#include "io/safetensors.h"

namespace nosa::reference {
namespace {

template <typename T>
Status Read(const io::Safetensors& file, const std::string& name, DType dtype, std::vector<T>* out) {
  if (!file.Has(name)) return Status::Ok();
  NOSA_ASSIGN_OR_RETURN(const ConstTensorView tensor, file.Get(name));
  if (tensor.dtype() != dtype) {
    return InvalidArgument("expected {} as {}, found {}", name, DTypeName(dtype), DTypeName(tensor.dtype()));
  }
  const T* data = reinterpret_cast<const T*>(tensor.bytes());
  out->assign(data, data + tensor.shape().elements());
  return Status::Ok();
}

}  // namespace

Result<Golden> ReadGolden(const std::filesystem::path& model, const std::string& prompt, const std::string& mode) {
  NOSA_ASSIGN_OR_RETURN(const auto file, io::Safetensors::OpenFile(model / "goldens.safetensors"));
  Golden golden;
  const std::string prefix = prompt + "." + mode + ".";
  NOSA_RETURN_IF_ERROR(Read(*file, prompt + ".prompt", DType::kI32, &golden.prompt));
  NOSA_RETURN_IF_ERROR(Read(*file, prefix + "logits_last8", DType::kF32, &golden.logits_last8));
  NOSA_RETURN_IF_ERROR(Read(*file, prefix + "greedy16", DType::kI32, &golden.greedy16));
  NOSA_RETURN_IF_ERROR(Read(*file, prefix + "selected_last", DType::kU8, &golden.selected_last));
  NOSA_RETURN_IF_ERROR(Read(*file, prefix + "ppl_nll", DType::kF32, &golden.ppl_nll));
  return golden;
}

}  // namespace nosa::reference

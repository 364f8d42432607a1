#include "apps/common_flags.h"

#include <vector>

#include "attention/selector.h"
#include "kv/codec.h"
#include "kv/policy.h"

namespace nosa::apps {
namespace {

std::vector<std::string> AutoAnd(std::vector<std::string> names) {
  names.insert(names.begin(), "auto");
  return names;
}

void AddKvFlags(Command& command, CommonFlags* flags) {
  command.Size("--kv-device", &flags->kv_device,
               "GPU memory for KV, never passed (with --backend cuda; default: all of it if it fits in --gpu-memory, "
               "else what helps)");
  command.Size("--kv-host", &flags->kv_host, "RAM for KV, never passed (default: what is free)");
  AddDiskFlag(
      command, flags,
      "disk for KV that does not fit in RAM (default: none if all fits, else the system's temporary directory)");
  command.Choice("--kv-policy", &flags->kv_policy, kv::PolicyNames(), "which block leaves RAM first");
  command.Choice("--kv-codec", &flags->kv_codec, kv::CodecNames(), "how blocks are written to disk");
  command.Choice("--kv-io", &flags->kv_io, {"auto", "uring", "threads"},
                 "how the disk is read: io_uring or a pool of threads");
  command.OnOff("--kv-direct", &flags->kv_direct, "bypass the page cache where the file system can");
}

}  // namespace

void AddDiskFlag(Command& command, CommonFlags* flags, const std::string& help) {
  command.Parsed(
      "--kv-disk", "DIR[:SIZE]",
      [flags](std::string_view text) {
        NOSA_ASSIGN_OR_RETURN(flags->kv_disk, ParseDiskPlace(text));
        return Status::Ok();
      },
      help);
}

void AddCommonFlags(Command& command, CommonFlags* flags, const CommonFlagSet& which) {
  if (which.model) {
    command.Text("--model", &flags->model, "a model's directory, or random:1b for random weights of that shape", "DIR");
    if (which.model_required) command.Required("--model");
    command.Int("--topk", &flags->topk, 1, "blocks each query reads (default: the checkpoint's)");
    command.Int("--query-topk", &flags->query_topk, 0, "of these, chosen by the query (default: the checkpoint's)");
    command.Choice("--dtype", &flags->dtype, {"auto", "f32", "bf16"},
                   "type of weights and cache; auto: the checkpoint's");
  }
  if (which.attention) {
    command.Choice("--attention", &flags->attention, AutoAnd(attention::SelectorNames()),
                   "which blocks are read; auto: nosa if the checkpoint has its weights, else full");
    command.Choice("--prefill", &flags->prefill, {"sparse", "dense"},
                   "whether prompts are read with selected or all blocks");
    command.Int("--prefill-chunk", &flags->prefill_chunk, 1,
                "tokens of a prompt read at once (default: 512, on a GPU 2048)");
    command.Choice("--decode", &flags->decode, {"auto", "step", "planned"},
                   "who plans decode: the device, a whole step at once (step), or the host, block by block, with bits "
                   "that do not depend on how many are answered (planned); auto: a GPU does");
  }
  if (which.backend) {
    command.Int("--threads", &flags->threads, 0, "threads; 0: as many as there are processors");
    command.Choice("--backend", &flags->backend, {"auto", "cpu", "reference", "cuda"},
                   "where it is computed; auto: a GPU if there is one; reference: slow, scalar");
  }
  if (which.gpu_memory) {
    command.Size("--gpu-memory", &flags->gpu_memory,
                 which.backend
                     ? "GPU memory to use, weights included, never passed (with --backend cuda; default: all of it)"
                     : "GPU memory to use, never passed (default: all of it)");
  }
  if (which.kv) AddKvFlags(command, flags);
  if (which.output) {
    command.Switch("--json", &flags->json, "results as JSON");
    command.Switch("--quiet", &flags->quiet, "only results and errors");
  }
}

Status CheckCommonFlags(const CommonFlags& flags) {
  if (flags.kv_device && flags.decode == "planned") {
    return InvalidArgument("--kv-device is memory of decode steps that the device plans, found --decode planned");
  }
#if NOSA_HAS_CUDA
  constexpr std::string_view kHint;
#else
  constexpr std::string_view kHint = ", which is not built in";
  if (flags.backend == "cuda") return Unimplemented("--backend cuda is not built in; auto, cpu and reference are");
#endif
  if (flags.backend == "cuda") return Status::Ok();
  if (flags.kv_device)
    return InvalidArgument("--kv-device needs --backend cuda{}; the CPU keeps KV in --kv-host", kHint);
  if (flags.gpu_memory) return InvalidArgument("--gpu-memory needs --backend cuda{}", kHint);
  return Status::Ok();
}

}  // namespace nosa::apps

#include "apps/memory_estimate.h"

#include <algorithm>
#include <filesystem>

#include "apps/session.h"
#include "attention/demand.h"
#include "base/bytes.h"
#include "base/parallel.h"
#include "model/step.h"
#include "ops/pool_windows.h"

namespace nosa::apps {
namespace {

// Code, shared libraries, stacks, allocator and oneDNN's generated code: about 20 MiB measured with the demo model,
// with room for products of more shapes.
#if NOSA_HAS_CUDA
constexpr uint64_t kCudaLibraries = 96 * kMiB;  // cuBLAS, loaded with the program whether a GPU is there or not
#else
constexpr uint64_t kCudaLibraries = 0;
#endif
constexpr uint64_t kProgramBytes = 40 * kMiB + kCudaLibraries;
// What a GPU's driver and libraries hold in RAM, and plans on their way to it.
constexpr uint64_t kDeviceProgramBytes = 768 * kMiB;
// Vectors double when they grow: at worst three times their contents are alive at once.
constexpr uint64_t kGrowth = 3;

uint64_t U(int64_t value) { return static_cast<uint64_t>(value); }

// Sizes that the parts below have in common.
struct Sizes {
  const schema::ModelConfig& model;
  const attention::AttentionConfig& attention;
  uint64_t rows = 0;        // of one forward pass, at most
  uint64_t blocks = 0;      // of the longest sequence
  uint64_t windows = 0;     // of the longest sequence
  uint64_t all_blocks = 0;  // of all sequences
  uint64_t threads = 0;
  bool on_device = false;  // tensors do not lie in RAM

  uint64_t kv_heads() const { return U(attention.kv_heads); }
  uint64_t group() const { return U(attention.group()); }
  uint64_t dim() const { return U(attention.head_dim); }
  uint64_t lanes() const { return U(attention.layers) * kv_heads(); }
};

Sizes SizesOf(const Session& session, std::span<const int> sequences) {
  Sizes sizes = {session.model->config(), session.model->attention_config()};
  int longest = 1;
  for (const int tokens : sequences) {
    longest = std::max(longest, tokens);
    sizes.all_blocks += U(session.model->block_layout().Blocks(tokens));
  }
  sizes.rows = std::max<uint64_t>(U(PrefillChunk(session)), sequences.size());
  sizes.blocks = U(session.model->block_layout().Blocks(longest));
  sizes.windows = RoundUp(U(sizes.attention.WindowsOf(longest)) + 1, ops::kWindowTile);
  sizes.on_device = session.backend && !HostAddressable(session.backend->compute_memory());
  sizes.threads = U(session.backend && !sizes.on_device ? session.backend->threads() : AvailableProcessors());
  return sizes;
}

uint64_t FileBytes(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  return error ? 0 : bytes;
}

uint64_t WeightFileBytes(const std::filesystem::path& directory) {
  uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".safetensors") bytes += FileBytes(it->path());
  }
  return bytes;
}

// model::Workspace: x, its norm, q, attended, k, v, s, gate, up; all f32.
uint64_t Activations(const Sizes& s) {
  const uint64_t hidden = U(s.model.hidden_size), heads = U(s.model.num_heads), inner = U(s.model.intermediate_size);
  return 4 * s.rows * (2 * hidden + 2 * heads * s.dim() + 2 * s.kv_heads() * s.dim() + s.kv_heads() + 2 * inner);
}

// AttentionRunner: partial states, grown by a quarter while the old ones are there.
uint64_t States(const Sizes& s) {
  const uint64_t slots = s.rows * s.kv_heads();
  const uint64_t parts = std::max<uint64_t>(slots, std::min<uint64_t>(U(attention::kMostParts), slots * s.blocks));
  return parts * s.group() * (2 + s.dim()) * 4 * 9 / 4;
}

// A selector's scores of windows and blocks, `rows` rows at a time.
uint64_t Scores(const Sizes& s, uint64_t rows) { return 2 * rows * s.kv_heads() * (s.windows + s.blocks) * 4; }

// AttentionRunner: masks and the plan made of them; on the host states and scores too.
uint64_t Attention(const Sizes& s) {
  const uint64_t slots = s.rows * s.kv_heads();
  const uint64_t parts = std::max<uint64_t>(slots, std::min<uint64_t>(U(attention::kMostParts), slots * s.blocks));
  const uint64_t masks =
      slots * (RoundUp(s.blocks, 64) / 8) * (1 + U(s.attention.layers));  // with those kept for a trace
  // A device reads masks instead of refs beyond the most parts: two of them, which grow by doubling.
  const uint64_t refs =
      (s.on_device ? std::min<uint64_t>(U(attention::kMostParts), slots * s.blocks) : slots * s.blocks) *
      sizeof(ops::BlockAttentionArgs::Ref);
  const uint64_t shared_masks = s.on_device ? 4 * slots * (RoundUp(s.blocks, 64) / 8) : 0;
  const uint64_t readers = s.kv_heads() * s.all_blocks *
                           (sizeof(attention::Reader) + sizeof(ops::AttentionTile) + sizeof(kv::BlockWant) + 32);
  const uint64_t order = parts * 4 + slots * 4;
  constexpr uint64_t kScoredRows = 32;  // attention/scoring.h: a batch of ForEachRowBatch
  const uint64_t plans = masks + shared_masks + kGrowth * (refs + readers + order);
  return s.on_device ? plans : plans + States(s) + Scores(s, kScoredRows);
}

// cpu::Scratch of every thread, which takes half more than it is asked for: rows rounded to bf16, oneDNN's copies of
// both factors of its slice, a tile's keys and values, logits of a task over all windows.
uint64_t Scratch(const Sizes& s) {
  const uint64_t hidden = U(s.model.hidden_size), inner = U(s.model.intermediate_size);
  const uint64_t widest = std::max({hidden, inner, U(s.model.num_heads) * s.dim()});
  const uint64_t rounded = s.rows * widest * 2;
  // Slices share the rows and columns of y: all threads together copy x and w at most once per cut in the other
  // direction.
  const uint64_t product = s.threads * 4 * widest * std::min(s.rows, uint64_t{4096}) + 4 * widest * widest;
  const uint64_t head = 4 * s.threads * hidden * 64;
  const uint64_t tile = s.threads * 4 * U(s.attention.block_size) * (2 * s.dim() + 16);
  const uint64_t window_logits = s.threads * 4 * std::max<uint64_t>(12, s.group()) * s.windows;
  return (rounded + product + head + tile + window_logits) * 3 / 2;
}

// Of decode steps that a device plans, what lies in RAM: everything where the device is the host; else where each
// block's home is, and logits.
uint64_t Steps(const Session& session, const Sizes& s, std::span<const int> sequences) {
  if (!DecodesBySteps(session) || sequences.empty()) return 0;
  model::DecodeStepOptions options;
  options.attention.selector = BaseEngineOptions(session).attention.selector;
  options.seats = static_cast<int>(sequences.size());
  options.max_tokens = *std::max_element(sequences.begin(), sequences.end());
  const uint64_t homes = sequences.size() * s.lanes() * s.blocks * sizeof(std::byte*);
  const uint64_t logits = sequences.size() * U(s.model.vocab_size) * sizeof(float);
  return homes + logits + (s.on_device ? 0 : model::DecodeStep::DeviceBytes(*session.model, options));
}

// A slot and a page of every block, and what the policy keeps of it.
uint64_t Bookkeeping(const Sizes& s) {
  constexpr uint64_t kBytesPerSlot = 128, kBytesPerPage = 256, kBytesPerToken = 64;
  return kGrowth * s.all_blocks *
         (s.lanes() * kBytesPerSlot + kBytesPerPage + U(s.attention.block_size) * kBytesPerToken);
}

}  // namespace

uint64_t EstimateDeviceMemory(const Session& session, std::span<const int> sequences) {
  const Sizes s = SizesOf(session, sequences);
  constexpr uint64_t kScoredRows = 512;           // attention/scoring.h: RowsOfBatch
  constexpr uint64_t kStagedBytes = 32 * kMiB;    // attention/layer.h: copies of blocks
  constexpr uint64_t kLibraryBytes = 512 * kMiB;  // scratch of ops, plans, what CUDA loads with the first call of each
  uint64_t summaries = 0;
  for (const int tokens : sequences) summaries += session.model->SequenceNeeds(tokens).side_bytes;
  const uint64_t masks = 2 * s.rows * s.kv_heads() * (RoundUp(s.blocks, 64) / 8);
  const uint64_t logits = sequences.size() * U(s.model.vocab_size) * sizeof(float);
  return Activations(s) + States(s) + Scores(s, kScoredRows) + masks + kStagedBytes + logits + summaries +
         kLibraryBytes;
}

MemoryEstimate EstimateMemory(const Session& session, std::span<const int> sequences, int logit_rows) {
  const Sizes sizes = SizesOf(session, sequences);
  const uint64_t vocab = U(sizes.model.vocab_size);
  const std::filesystem::path directory = session.flags.model;
  MemoryEstimate estimate;
  estimate.program = kProgramBytes + sizes.threads * kMiB + (sizes.on_device ? kDeviceProgramBytes : 0);
  estimate.weights_mapped = WeightFileBytes(directory);
  estimate.weights_copied = session.model->copied_weight_bytes();
  // A parsed tokenizer.json, its tables and the JSON they come from.
  estimate.tokenizer = 40 * FileBytes(directory / "tokenizer.json");
  if (!sizes.on_device) estimate.activations = Activations(sizes);
  const uint64_t rows = std::max<uint64_t>(U(logit_rows), sequences.size());
  // The sampler edits a row; a draw on the host has a number for each token of the row that a thread draws from.
  estimate.logits = vocab * (rows * 4 * 2 + 4 + sizes.threads * 4);
  estimate.attention = Attention(sizes) + Steps(session, sizes, sequences);
  if (!sizes.on_device) estimate.scratch = Scratch(sizes);
  estimate.bookkeeping = Bookkeeping(sizes);
  return estimate;
}

}  // namespace nosa::apps

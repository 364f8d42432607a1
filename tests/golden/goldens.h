// The committed answers of an independent float32 implementation, models/nosa-21m/goldens.safetensors.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace nosa::reference {

// For one prompt and mode ("nosa" or "full").
struct Golden {
  std::vector<TokenId> prompt;
  std::vector<float> logits_last8;  // [8, vocab]
  std::vector<TokenId> greedy16;
  std::vector<uint8_t> selected_last;  // [layers, kv_heads, blocks] of the last prompt token; nosa only
  std::vector<float> ppl_nll;          // one mean next-token loss over the prompt; nosa only
};

// `model`: directory of nosa-21m. `prompt`: "70" or "2500". Absent tensors leave their field empty.
Result<Golden> ReadGolden(const std::filesystem::path& model, const std::string& prompt, const std::string& mode);

}  // namespace nosa::reference

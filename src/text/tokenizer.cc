#include "text/tokenizer.h"

#include "io/json.h"
#include "text/bpe_tokenizer.h"
#include "text/tokenizer_json.h"

namespace nosa::text {
namespace {

Result<std::shared_ptr<const Tokenizer>> FromRoot(const io::Json& root, std::string_view what) {
  auto parts = ParseTokenizer(root);
  if (!parts.ok()) return parts.status().WithContext(what);
  return std::shared_ptr<const Tokenizer>(std::make_shared<BpeTokenizer>(std::move(parts).value()));
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::FromFile(const std::filesystem::path& tokenizer_json) {
  NOSA_ASSIGN_OR_RETURN(const io::Json root, io::ReadJsonFile(tokenizer_json));
  return FromRoot(root, tokenizer_json.string());
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::FromJson(std::string_view json, std::string_view what) {
  NOSA_ASSIGN_OR_RETURN(const io::Json root, io::ParseJson(json, what));
  return FromRoot(root, what);
}

}  // namespace nosa::text

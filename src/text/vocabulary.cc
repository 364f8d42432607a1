#include "text/vocabulary.h"

namespace nosa::text {

Status Vocabulary::Add(int64_t id, Token token) {
  if (id < 0 || id > kMaxTokenId)
    return InvalidArgument("token \"{}\" has the id {}, expected 0 to {}", token.name, id, kMaxTokenId);
  const auto narrow = static_cast<TokenId>(id);
  if (const Token* other = Find(narrow))
    return InvalidArgument("tokens \"{}\" and \"{}\" both have the id {}", other->name, token.name, id);
  if (const TokenId other = IdOf(token.name); other >= 0)
    return InvalidArgument("token \"{}\" has two ids, {} and {}", token.name, other, id);
  if (narrow >= size()) slot_.resize(static_cast<size_t>(id) + 1, -1);
  slot_[static_cast<size_t>(id)] = static_cast<int32_t>(tokens_.size());
  ids_.emplace(token.name, narrow);
  tokens_.push_back(std::move(token));
  return Status::Ok();
}

TokenId Vocabulary::IdOf(std::string_view name) const {
  const auto it = ids_.find(name);
  return it == ids_.end() ? -1 : it->second;
}

TokenId Vocabulary::ModelIdOf(std::string_view name) const {
  const TokenId id = IdOf(name);
  return id >= 0 && Find(id)->in_model ? id : -1;
}

}  // namespace nosa::text

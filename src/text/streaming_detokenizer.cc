#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nosa::text {

// Special tokens are left out, so that all pieces together are what Decode(ids, false) gives, made
// well-formed: which bytes are ill-formed does not depend on how they were cut.
std::string StreamingDetokenizer::Push(TokenId id) {
  std::string out;
  if (tokenizer_->IsSpecial(id)) return out;
  pending_.append(tokenizer_->TokenBytes(id));
  pending_.erase(0, AppendWellFormed(pending_, true, &out));
  return out;
}

std::string StreamingDetokenizer::Finish() {
  std::string out;
  AppendWellFormed(pending_, false, &out);
  pending_.clear();
  return out;
}

}  // namespace nosa::text

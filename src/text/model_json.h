// Reads the "model" of tokenizer.json, which must be BPE.
#pragma once

#include "io/json.h"
#include "text/bpe.h"
#include "text/merge_table.h"
#include "text/vocabulary.h"

namespace nosa::text {

// Fills `vocabulary` from model.vocab and returns the model's settings, without byte_level, which is the
// pre-tokenizer's to say. Errors name the field.
Result<BpeOptions> ParseModelVocabulary(const io::Json& model, Vocabulary* vocabulary);

// model.merges, as pairs ["a", "b"] or as texts "a b".
Result<MergeTable> ParseMerges(const io::Json& model, const Vocabulary& vocabulary);

}  // namespace nosa::text

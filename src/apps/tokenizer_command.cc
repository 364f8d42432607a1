// nosa tokenizer: from text to tokenizer.json, and a look at what one does.
#include "apps/command.h"

namespace nosa::apps {

void AddTokenizerTrain(Command command);    // tokenizer_train.cc
void AddTokenizerInspect(Command command);  // tokenizer_inspect.cc

void AddTokenizer(Command command) {
  AddTokenizerTrain(command.Sub("train", "learns a byte-level BPE vocabulary from text"));
  AddTokenizerInspect(command.Sub("inspect", "the tokens of a text"));
}

}  // namespace nosa::apps

// Ctrl-C as a question that is asked between steps.
#pragma once

namespace nosa::apps {

// From now on the first SIGINT only makes Interrupted() true; the second ends the program as usual.
void InstallInterruptHandler();
bool Interrupted();

}  // namespace nosa::apps

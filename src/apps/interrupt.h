// Ctrl-C, and for a server SIGTERM, as a question that is asked between steps.
#pragma once

namespace nosa::apps {

// From now on the first SIGINT only makes Interrupted() true; the second ends the program as usual.
void InstallInterruptHandler();
// The same for SIGTERM: of both signals together the second ends the program.
void InstallTerminateHandler();
bool Interrupted();

}  // namespace nosa::apps

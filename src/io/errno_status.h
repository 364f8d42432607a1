// Errors of the operating system as sentences. Private to the io room.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace nosa::io::internal {

// "cannot open /a/b for reading: No such file or directory". `what` names the attempt and its object
// ("open /a/b for reading"); `error` is an errno. Code: kNotFound for a missing path, kResourceExhausted for
// a full disk, a quota or a limit on files or memory, else kIo.
Status ErrnoStatus(int error, std::string_view what);

// "No such file or directory"
std::string ErrnoText(int error);

// The path behind a descriptor, as far as the system knows it: "/a/b (fd 7)", else "fd 7". For messages.
std::string DescriptorName(int fd);

}  // namespace nosa::io::internal

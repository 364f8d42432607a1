// The files of the page, in the program itself (cmake/NosaEmbed.cmake puts them there).
#pragma once

#include <span>
#include <string_view>

namespace nosa::server {

struct PageFile {
  std::string_view name;  // "index.html"
  std::string_view bytes;
  std::string_view digest;  // SHA-256 of the bytes, in hex
};

std::span<const PageFile> PageFiles();
// Null when there is none of that name.
const PageFile* FindPageFile(std::string_view name);
// By the name's ending, with the charset of text.
std::string_view ContentTypeOf(std::string_view name);

}  // namespace nosa::server

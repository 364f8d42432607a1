# nosa_embed_page(TARGET <dir>): the files of <dir> become part of the library TARGET, as nosa::server::PageFiles()
# (src/server/page/page_files.h). Built again when one changes.
#
# Run as a script, it writes that source file: cmake -DDIRECTORY=<dir> -DOUTPUT=<file> -P NosaEmbed.cmake
if(CMAKE_SCRIPT_MODE_FILE)
  file(GLOB FILES RELATIVE ${DIRECTORY} ${DIRECTORY}/*)
  set(ARRAYS "")
  set(ROWS "")
  set(COUNT 0)
  foreach(FILE ${FILES})
    file(READ ${DIRECTORY}/${FILE} BYTES HEX)
    file(SHA256 ${DIRECTORY}/${FILE} DIGEST)
    string(LENGTH "${BYTES}" LENGTH)
    math(EXPR LENGTH "${LENGTH} / 2")
    string(REGEX REPLACE "(..)" "\\\\x\\1" BYTES "${BYTES}")
    string(APPEND ARRAYS "constexpr char kFile${COUNT}[] =\n  \"${BYTES}\";\n")
    string(APPEND ROWS "  {\"${FILE}\", {kFile${COUNT}, ${LENGTH}}, \"${DIGEST}\"},\n")
    math(EXPR COUNT "${COUNT} + 1")
  endforeach()
  file(WRITE ${OUTPUT} "// Made by cmake/NosaEmbed.cmake.\n#include \"server/page/page_files.h\"\n\nnamespace nosa::server {\n"
       "namespace {\n\n${ARRAYS}\nconstexpr PageFile kFiles[] = {\n${ROWS}};\n\n}  // namespace\n\n"
       "std::span<const PageFile> PageFiles() { return kFiles; }\n\n}  // namespace nosa::server\n")
  return()
endif()

set(NOSA_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(nosa_embed_page TARGET DIRECTORY)
  file(GLOB FILES CONFIGURE_DEPENDS ${DIRECTORY}/*)
  set(OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/page_files.gen.cc)
  add_custom_command(OUTPUT ${OUTPUT} DEPENDS ${FILES} ${NOSA_EMBED_SCRIPT} VERBATIM
                     COMMAND ${CMAKE_COMMAND} -DDIRECTORY=${DIRECTORY} -DOUTPUT=${OUTPUT} -P ${NOSA_EMBED_SCRIPT})
  target_sources(${TARGET} PRIVATE ${OUTPUT})
endfunction()

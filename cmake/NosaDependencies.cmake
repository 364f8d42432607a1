# Every library this project takes, found once. All are Debian packages: tools/packages.txt.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
find_package(ICU REQUIRED COMPONENTS uc)
if(NOT NOSA_FUZZ)  # the fuzz build stops below the rooms that use these
  find_package(CLI11 REQUIRED)
  find_package(dnnl REQUIRED)
  find_package(OpenMP REQUIRED)  # only to keep oneDNN from starting threads of its own
  pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
  pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
  find_package(OpenSSL REQUIRED)
endif()
if(NOSA_TESTS)
  find_package(GTest REQUIRED)
  # The system's own: the packages of tools/packages.txt are for that one.
  if(NOT Python3_EXECUTABLE AND EXISTS /usr/bin/python3)
    set(Python3_EXECUTABLE /usr/bin/python3)
  endif()
  find_package(Python3 REQUIRED COMPONENTS Interpreter)  # the tests that are Python
endif()

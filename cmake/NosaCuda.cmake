# Whether the CUDA backend is built: sets NOSA_HAS_CUDA. A machine without the toolkit builds everything else.
set(NOSA_HAS_CUDA FALSE)
if(NOSA_CUDA AND NOT NOSA_SANITIZE AND NOT NOSA_FUZZ)
  include(CheckLanguage)
  if(NOT CMAKE_CUDA_COMPILER)
    # Where the toolkit puts it when it is not on the PATH.
    find_program(NOSA_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
    if(NOSA_NVCC)
      set(CMAKE_CUDA_COMPILER ${NOSA_NVCC})
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${NOSA_CUDA_ARCHITECTURES})
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit 12.0 REQUIRED)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc takes it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    if(CCACHE)
      set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
    endif()
    # fmt 9 switches constexpr off for nvcc, which needs it. Then: constexpr functions of shared
    # headers in kernels; the host compiler's warnings, but for what nvcc's
    # own generated code would raise.
    add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:-DFMT_USE_CONSTEXPR=1>
                        $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr> $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>
                        "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-unused-parameter>")
    set(NOSA_HAS_CUDA TRUE)
    message(STATUS "CUDA backend: ${CMAKE_CUDA_COMPILER_VERSION} for ${NOSA_CUDA_ARCHITECTURES}")
  elseif(NOT NOSA_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "NOSA_CUDA is ${NOSA_CUDA}, but no CUDA compiler was found; set CMAKE_CUDA_COMPILER to nvcc")
  else()
    message(STATUS "CUDA backend: left out, no CUDA compiler was found")
  endif()
endif()

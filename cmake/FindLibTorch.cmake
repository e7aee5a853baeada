# Finds LibTorch without torch's own CMake package, which refuses to load a CUDA build on a machine without CUDA.
#
# It tries, in this order: the Torch that the project has already found, or that the user named (LibTorch_ROOT, Torch_ROOT, Torch_DIR);
# the folders in LibTorch_HINTS (the installed package names the one that Cohaul was built with); the torch of the active Python; .deps/.
# If the project has found a LibTorch or the user has named one, it is used or refused; any other that is too old is skipped.
#
# Sets LibTorch_FOUND, LibTorch_VERSION, LibTorch_PREFIX (holds include/ and lib/), LibTorch_SOURCE (where it was found, in words).
# Targets: LibTorch::c10, LibTorch::torch_cpu; LibTorch::torch_cuda with COMPONENTS cuda, where its libraries are all there.

set(_LibTorch_oldest 2.11)  # the first with headers for C++20

# Sets `out` to the release in a prefix, without its local part ("2.15.0", not "2.15.0+cu132"); empty where there is no LibTorch.
function(_LibTorch_version prefix out)
  set(version "")
  if(EXISTS ${prefix}/lib/libtorch_cpu.so AND EXISTS ${prefix}/lib/libc10.so AND EXISTS ${prefix}/include/ATen/core/Tensor.h)
    foreach(file version.py build-version)
      if(EXISTS ${prefix}/${file} AND version STREQUAL "")
        file(READ ${prefix}/${file} text)
        if(text MATCHES "(__version__ = '|^)([0-9]+[.][0-9]+[.][0-9]+)")
          set(version ${CMAKE_MATCH_2})
        endif()
      endif()
    endforeach()
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

# Sets `out` to the prefix of the Torch that find_package(Torch) has already given to the project; empty if it has not.
function(_LibTorch_of_project out)
  foreach(target torch_cpu torch)
    if(TARGET ${target})
      foreach(property IMPORTED_LOCATION IMPORTED_LOCATION_RELEASE IMPORTED_LOCATION_RELWITHDEBINFO IMPORTED_LOCATION_DEBUG)
        get_target_property(library ${target} ${property})
        if(library)
          cmake_path(GET library PARENT_PATH folder)
          cmake_path(GET folder PARENT_PATH folder)
          set(${out} ${folder} PARENT_SCOPE)
          return()
        endif()
      endforeach()
    endif()
  endforeach()
  set(${out} "" PARENT_SCOPE)
endfunction()

# Sets `out` to the prefix of the active Python's torch; empty if it has none. It is located without an import, which would take seconds.
function(_LibTorch_of_python out)
  set(find "from importlib.util import find_spec as f; s = f('torch'); print(s.submodule_search_locations[0] if s else '', end='')")
  execute_process(COMMAND python3 -c "${find}" OUTPUT_VARIABLE folder ERROR_QUIET RESULT_VARIABLE result)
  if(NOT result STREQUAL "0")
    set(folder "")
  endif()
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()

# Takes `prefix` unless one was taken before. chosen: the project or the user has chosen it, so it is taken or refused, never skipped.
macro(_LibTorch_try prefix source chosen)
  if("${LibTorch_PREFIX}" STREQUAL "" AND NOT "${prefix}" STREQUAL "")
    _LibTorch_version("${prefix}" _LibTorch_seen)
    if(_LibTorch_seen AND _LibTorch_seen VERSION_GREATER_EQUAL _LibTorch_oldest)
      set(LibTorch_PREFIX "${prefix}")
      set(LibTorch_VERSION ${_LibTorch_seen})
      set(LibTorch_SOURCE "${source}")
    else()
      if(_LibTorch_seen)
        set(_LibTorch_why "LibTorch ${_LibTorch_seen} in ${prefix} (${source}) is older than ${_LibTorch_oldest}, the first that Cohaul can use")
      else()
        set(_LibTorch_why "no LibTorch in ${prefix} (${source}): it should hold lib/libtorch_cpu.so, include/ and version.py or build-version")
      endif()
      if(${chosen})
        message(FATAL_ERROR "${_LibTorch_why}. Name another with -DLibTorch_ROOT=FOLDER, or name none.")
      endif()
      list(APPEND _LibTorch_passed "${_LibTorch_why}")
    endif()
  endif()
endmacro()

set(LibTorch_PREFIX "")
set(_LibTorch_passed "")
_LibTorch_of_project(_LibTorch_folder)
_LibTorch_try("${_LibTorch_folder}" "found by this project's find_package(Torch)" TRUE)
foreach(_LibTorch_name LibTorch_ROOT Torch_ROOT)
  _LibTorch_try("${${_LibTorch_name}}" "named by ${_LibTorch_name}" TRUE)
  _LibTorch_try("$ENV{${_LibTorch_name}}" "named by ${_LibTorch_name} in the environment" TRUE)
endforeach()
if(Torch_DIR)
  cmake_path(SET _LibTorch_folder NORMALIZE "${Torch_DIR}/../../..")
  _LibTorch_try("${_LibTorch_folder}" "named by Torch_DIR" TRUE)
endif()
foreach(_LibTorch_folder IN LISTS LibTorch_HINTS)
  _LibTorch_try("${_LibTorch_folder}" "the one that Cohaul was built with" FALSE)
endforeach()
if(NOT LibTorch_PREFIX)
  _LibTorch_of_python(_LibTorch_folder)
  _LibTorch_try("${_LibTorch_folder}" "the active Python's" FALSE)
endif()
cmake_path(SET _LibTorch_folder NORMALIZE "${CMAKE_CURRENT_LIST_DIR}/../.deps/libtorch-site/torch")
if(IS_DIRECTORY "${_LibTorch_folder}")
  _LibTorch_try("${_LibTorch_folder}" ".deps" FALSE)
endif()

list(JOIN _LibTorch_passed "; " _LibTorch_passed)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_PREFIX VERSION_VAR LibTorch_VERSION REASON_FAILURE_MESSAGE
  "Run ./dev setup, or name one with -DLibTorch_ROOT=FOLDER (the folder that holds include/ and lib/). ${_LibTorch_passed}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::torch_cpu)
  if(NOT LibTorch_FIND_QUIETLY)
    message(STATUS "LibTorch ${LibTorch_VERSION}: ${LibTorch_SOURCE}")
  endif()
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${LibTorch_PREFIX}/lib/libc10.so
    INTERFACE_INCLUDE_DIRECTORIES ${LibTorch_PREFIX}/include)
  add_library(LibTorch::torch_cpu SHARED IMPORTED)
  set_target_properties(LibTorch::torch_cpu PROPERTIES IMPORTED_LOCATION ${LibTorch_PREFIX}/lib/libtorch_cpu.so
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_PREFIX}/include;${LibTorch_PREFIX}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
endif()

set(LibTorch_cuda_FOUND FALSE)
if(LibTorch_FOUND AND "cuda" IN_LIST LibTorch_FIND_COMPONENTS AND EXISTS ${LibTorch_PREFIX}/lib/libtorch_cuda.so)
  execute_process(COMMAND ldd ${LibTorch_PREFIX}/lib/libtorch_cuda.so OUTPUT_VARIABLE _LibTorch_ldd ERROR_QUIET)
  if(_LibTorch_ldd AND NOT _LibTorch_ldd MATCHES "not found")
    set(LibTorch_cuda_FOUND TRUE)
    if(NOT TARGET LibTorch::torch_cuda)
      add_library(LibTorch::torch_cuda SHARED IMPORTED)
      set_target_properties(LibTorch::torch_cuda PROPERTIES IMPORTED_LOCATION ${LibTorch_PREFIX}/lib/libtorch_cuda.so
        INTERFACE_LINK_LIBRARIES LibTorch::torch_cpu)
    endif()
  endif()
endif()

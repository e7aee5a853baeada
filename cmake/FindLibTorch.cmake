# Thin start; see docs.
set(_site ${CMAKE_SOURCE_DIR}/.deps/libtorch-site)
if(NOT TARGET LibTorch::torch_cpu)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${_site}/torch/lib/libc10.so)
  add_library(LibTorch::torch_cpu SHARED IMPORTED)
  set_target_properties(LibTorch::torch_cpu PROPERTIES IMPORTED_LOCATION ${_site}/torch/lib/libtorch_cpu.so
    INTERFACE_INCLUDE_DIRECTORIES "${_site}/torch/include;${_site}/torch/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
endif()
set(LibTorch_FOUND TRUE)

# Defines the targets of torch's own package, without its search for CUDA, which fails where there is none. TORCH_PREFIX: the LibTorch.
foreach(library c10 torch_cpu torch)
  add_library(${library} SHARED IMPORTED)
  set_target_properties(${library} PROPERTIES IMPORTED_LOCATION ${TORCH_PREFIX}/lib/lib${library}.so
    INTERFACE_INCLUDE_DIRECTORIES "${TORCH_PREFIX}/include;${TORCH_PREFIX}/include/torch/csrc/api/include")
endforeach()
set_target_properties(torch PROPERTIES INTERFACE_LINK_LIBRARIES "torch_cpu;c10")
set(TORCH_LIBRARIES torch)

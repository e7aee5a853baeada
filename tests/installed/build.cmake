# Installs a build into a folder, and builds against it what a user would: cmake -DBUILD=… -DINTO=… -DTORCH=… [-DLAUNCHER=…] -P build.cmake
file(REMOVE_RECURSE ${INTO})

function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${said}")
  endif()
endfunction()

set(configure ${CMAKE_COMMAND} -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -DCMAKE_PREFIX_PATH=${INTO}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${INTO}/prefix)
run(${configure} -S ${CMAKE_CURRENT_LIST_DIR}/../../examples -B ${INTO}/examples)
run(${CMAKE_COMMAND} --build ${INTO}/examples)

set(beside ${configure} -S ${CMAKE_CURRENT_LIST_DIR}/beside_torch -B ${INTO}/beside_torch)
run(${beside} -DTORCH_PREFIX=${TORCH})
run(${CMAKE_COMMAND} --build ${INTO}/beside_torch)
run(${INTO}/beside_torch/beside_torch)

# If LibTorch is not the one that Cohaul was built with, configuring fails, and both are named.
file(MAKE_DIRECTORY ${INTO}/other/include/ATen/core)
foreach(file lib/libc10.so lib/libtorch_cpu.so lib/libtorch.so include/ATen/core/Tensor.h)
  file(WRITE ${INTO}/other/${file} "")
endforeach()
file(WRITE ${INTO}/other/version.py "__version__ = '2.99.0'\n")
file(REMOVE_RECURSE ${INTO}/beside_torch)
execute_process(COMMAND ${beside} -DTORCH_PREFIX=${INTO}/other OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
string(REGEX REPLACE "[ \n]+" " " said "${said}")
string(FIND "${said}" "uses LibTorch 2.99.0" found)
if(result EQUAL 0 OR found EQUAL -1)
  message(FATAL_ERROR "another LibTorch was not refused: ${said}")
endif()

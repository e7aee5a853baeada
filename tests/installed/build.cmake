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

# What is installed are the public headers.
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/public_headers.cmake)
set(public ${COHAUL_CORE_HEADERS} ${COHAUL_TORCH_HEADERS})
file(GLOB_RECURSE installed RELATIVE ${INTO}/prefix/include/cohaul ${INTO}/prefix/include/*)
list(SORT public)
list(SORT installed)
if(NOT installed STREQUAL public)
  message(FATAL_ERROR "these headers are installed: ${installed}\nand these are public: ${public}")
endif()

# no_folder(BUILD FOLDER): nothing in the folder BUILD was compiled with an option that names FOLDER.
function(no_folder build folder)
  file(READ ${build}/compile_commands.json commands)
  string(REGEX MATCH "-(I|isystem) *${folder}[^ ]*" found "${commands}")
  if(found OR NOT commands MATCHES "-(I|isystem) *${INTO}/prefix/include ")
    message(FATAL_ERROR "${build} was compiled with '${found}':\n${commands}")
  endif()
endfunction()
cmake_path(SET source NORMALIZE ${CMAKE_CURRENT_LIST_DIR}/../../src)

# Each compiles alone: those of Cohaul::core without LibTorch, as does a program.
set(headers ${configure} -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -S ${CMAKE_CURRENT_LIST_DIR}/headers)
run(${headers} -B ${INTO}/core -DCOMPONENT=core -DHEADERS=COHAUL_CORE_HEADERS -DPROGRAM=${CMAKE_CURRENT_LIST_DIR}/../../examples/sums.cpp)
run(${CMAKE_COMMAND} --build ${INTO}/core)
no_folder(${INTO}/core ${source})
no_folder(${INTO}/core ${TORCH})
run(${INTO}/core/program)
run(${headers} -B ${INTO}/cohaul -DCOMPONENT=cohaul -DHEADERS=COHAUL_TORCH_HEADERS)
run(${CMAKE_COMMAND} --build ${INTO}/cohaul)
no_folder(${INTO}/cohaul ${source})

run(${configure} -S ${CMAKE_CURRENT_LIST_DIR}/../../examples -B ${INTO}/examples)
run(${CMAKE_COMMAND} --build ${INTO}/examples)

set(beside ${configure} -S ${CMAKE_CURRENT_LIST_DIR}/beside_torch -B ${INTO}/beside_torch)
run(${beside} -DTORCH_PREFIX=${TORCH})
run(${CMAKE_COMMAND} --build ${INTO}/beside_torch)
run(${INTO}/beside_torch/beside_torch)

# The installed worker finds LibTorch: the one that it was built with, or the one that LibTorch_ROOT names, here through a link.
set(worker ${INTO}/prefix/bin/cohaul-worker --version)
file(CREATE_LINK ${TORCH} ${INTO}/link SYMBOLIC)
foreach(named "" LibTorch_ROOT=${INTO}/link Torch_ROOT=${TORCH})
  execute_process(COMMAND env -u LibTorch_ROOT -u Torch_ROOT ${named} ${worker} OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
  string(FIND "${said}" ", ${TORCH}/lib/libtorch_cpu.so)" found)
  if(NOT result EQUAL 0 OR found EQUAL -1)
    message(FATAL_ERROR "the installed worker with '${named}' did not load ${TORCH}: ${said}")
  endif()
endforeach()

# If LibTorch is not the one that Cohaul was built with, configuring fails, and both are named.
file(MAKE_DIRECTORY ${INTO}/other/include/ATen/core)
foreach(file lib/libc10.so lib/libtorch_cpu.so lib/libtorch.so include/ATen/core/Tensor.h)
  file(WRITE ${INTO}/other/${file} "")
endforeach()
file(WRITE ${INTO}/other/version.py "__version__ = '2.99.0'\n")
foreach(named ${INTO}/other ${INTO}/nowhere)
  execute_process(COMMAND env LibTorch_ROOT=${named} ${worker} OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
  string(FIND "${said}" "was found in ${named}, which LibTorch_ROOT names" found)
  if(NOT result EQUAL 2 OR found EQUAL -1)
    message(FATAL_ERROR "the installed worker did not refuse ${named}: ${said}")
  endif()
endforeach()

file(REMOVE_RECURSE ${INTO}/beside_torch)
execute_process(COMMAND ${beside} -DTORCH_PREFIX=${INTO}/other OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
string(REGEX REPLACE "[ \n]+" " " said "${said}")
string(FIND "${said}" "uses LibTorch 2.99.0" found)
if(result EQUAL 0 OR found EQUAL -1)
  message(FATAL_ERROR "another LibTorch was not refused: ${said}")
endif()

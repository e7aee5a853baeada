# Settings of all targets of Cohaul, and the function cohaul_folder: each folder under src/cohaul is one target with a list of what it uses.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

find_package(Threads REQUIRED)

add_library(cohaul_flags INTERFACE)
# No contraction of multiply and add: each is rounded, in vector code as in scalar code, so results do not depend on how arrays are cut.
target_compile_options(cohaul_flags INTERFACE -Wall -Wextra -Wpedantic -Wno-psabi -ffp-contract=off -fno-math-errno)
if(COHAUL_WERROR)
  target_compile_options(cohaul_flags INTERFACE -Werror)
endif()
foreach(sanitizer IN LISTS COHAUL_SANITIZE)
  target_compile_options(cohaul_flags INTERFACE -fsanitize=${sanitizer} -fno-omit-frame-pointer)
  target_link_options(cohaul_flags INTERFACE -fsanitize=${sanitizer})
endforeach()
if(undefined IN_LIST COHAUL_SANITIZE)
  target_compile_options(cohaul_flags INTERFACE -fno-sanitize-recover=undefined)  # an error that it finds fails the test
endif()

# Settings of the thread sanitizer in processes with LibTorch, which was not compiled with it: LibTorch's own accesses are not checked, and it has one
# thread.
set(COHAUL_BESIDE_LIBTORCH "TSAN_OPTIONS=ignore_noninstrumented_modules=1;OMP_NUM_THREADS=1")

# cohaul_public(NAME TARGET) installs a folder's target as Cohaul::NAME; one below LibTorch is part of Cohaul::core.
function(cohaul_public name target)
  if(TARGET LibTorch::torch_cpu)
    set_property(GLOBAL APPEND PROPERTY COHAUL_TORCH_FOLDERS ${target})
  else()
    set_property(GLOBAL APPEND PROPERTY COHAUL_CORE_FOLDERS ${target})
  endif()
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
endfunction()

# cohaul_program(TARGET) installs an executable.
function(cohaul_program target)
  set_property(GLOBAL APPEND PROPERTY COHAUL_PROGRAMS ${target})
endfunction()

# cohaul_folder(NAME [USES folder...] [LIBS imported_target...] [TEST_LIBS target...])
#   Builds every *.cpp of the current folder into the static library cohaul_NAME, and its *_test.cpp into NAME_test.
#   USES lists the folders whose headers this one includes; a test holds it against the #include lines.
function(cohaul_folder name)
  cmake_parse_arguments(arg "" "" "USES;LIBS;TEST_LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp engines/*.cpp hosts/*.cpp)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cpp$")

  if(sources)
    add_library(cohaul_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(cohaul_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(Cohaul::${name} ALIAS cohaul_${name})
  cohaul_public(${name} cohaul_${name})
  target_compile_features(cohaul_${name} ${scope} cxx_std_20)
  target_include_directories(cohaul_${name} ${scope} $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>)
  target_link_libraries(cohaul_${name} ${scope} $<BUILD_INTERFACE:cohaul_flags> ${arg_LIBS})
  foreach(used IN LISTS arg_USES)
    target_link_libraries(cohaul_${name} ${scope} cohaul_${used})
  endforeach()

  if(COHAUL_TESTS AND tests)
    find_package(GTest REQUIRED)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE cohaul_${name} GTest::gtest_main ${arg_TEST_LIBS})
    include(GoogleTest)
    set(environment "")
    if(thread IN_LIST COHAUL_SANITIZE AND TARGET LibTorch::torch_cpu)
      set(environment ENVIRONMENT "${COHAUL_BESIDE_LIBTORCH}")
    endif()
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}/" DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 LABELS "${name}" ${environment})
  endif()
endfunction()

# The package that other projects use: Cohaul::core (below LibTorch) and Cohaul::cohaul (all of it), in this tree and, once installed, through
# find_package(Cohaul). It installs the public headers, the libraries and the three executables.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(cohaul_core INTERFACE)
get_property(core_folders GLOBAL PROPERTY COHAUL_CORE_FOLDERS)
target_link_libraries(cohaul_core INTERFACE ${core_folders})
set_target_properties(cohaul_core PROPERTIES EXPORT_NAME core)
add_library(Cohaul::core ALIAS cohaul_core)

install(TARGETS cohaul_core ${core_folders} EXPORT CohaulCore FILE_SET HEADERS)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Cohaul)
install(EXPORT CohaulCore NAMESPACE Cohaul:: DESTINATION ${package_folder})

if(COHAUL_TORCH)
  find_package(LibTorch REQUIRED QUIET)  # its targets are needed by the tests and benchmarks too
  add_library(cohaul_all INTERFACE)
  get_property(torch_folders GLOBAL PROPERTY COHAUL_TORCH_FOLDERS)
  target_link_libraries(cohaul_all INTERFACE cohaul_core ${torch_folders})
  file(GLOB face CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cohaul/*.h)
  target_sources(cohaul_all INTERFACE FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/src FILES ${face})
  set_target_properties(cohaul_all PROPERTIES EXPORT_NAME cohaul)
  add_library(Cohaul::cohaul ALIAS cohaul_all)
  install(TARGETS cohaul_all ${torch_folders} EXPORT CohaulTorch FILE_SET HEADERS)
  install(EXPORT CohaulTorch NAMESPACE Cohaul:: DESTINATION ${package_folder})
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake DESTINATION ${package_folder})
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/jobs DESTINATION ${CMAKE_INSTALL_DATADIR}/cohaul)
get_property(programs GLOBAL PROPERTY COHAUL_PROGRAMS)
if(programs)
  install(TARGETS ${programs} RUNTIME)
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/CohaulConfig.cmake.in ${PROJECT_BINARY_DIR}/CohaulConfig.cmake
  INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/CohaulConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/CohaulConfig.cmake ${PROJECT_BINARY_DIR}/CohaulConfigVersion.cmake DESTINATION ${package_folder})

# The package that other projects use: Cohaul::core (below LibTorch) and Cohaul::cohaul (all of it), in this tree and, once installed, through
# find_package(Cohaul). It installs the public headers (public_headers.cmake), the libraries and the three executables; cpack makes two Debian packages
# of them, cohaul (the component runtime) and libcohaul-dev (dev).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
include(public_headers)

# cohaul_public_headers(TARGET HEADER...) makes headers, given by their paths below src/cohaul, those that are installed with an interface library.
function(cohaul_public_headers target)
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/src/cohaul/)
  target_sources(${target} INTERFACE FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}/src FILES ${ARGN})
endfunction()

add_library(cohaul_core INTERFACE)
get_property(core_folders GLOBAL PROPERTY COHAUL_CORE_FOLDERS)
target_link_libraries(cohaul_core INTERFACE ${core_folders})
cohaul_public_headers(cohaul_core ${COHAUL_CORE_HEADERS})
set_target_properties(cohaul_core PROPERTIES EXPORT_NAME core)
add_library(Cohaul::core ALIAS cohaul_core)

install(TARGETS cohaul_core ${core_folders} EXPORT CohaulCore ARCHIVE COMPONENT dev FILE_SET HEADERS COMPONENT dev
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Cohaul)
install(EXPORT CohaulCore NAMESPACE Cohaul:: DESTINATION ${package_folder} COMPONENT dev)

if(COHAUL_TORCH)
  find_package(LibTorch REQUIRED QUIET)  # its targets are needed by the tests and benchmarks too
  add_library(cohaul_all INTERFACE)
  get_property(torch_folders GLOBAL PROPERTY COHAUL_TORCH_FOLDERS)
  target_link_libraries(cohaul_all INTERFACE cohaul_core ${torch_folders})
  cohaul_public_headers(cohaul_all ${COHAUL_TORCH_HEADERS})
  set_target_properties(cohaul_all PROPERTIES EXPORT_NAME cohaul)
  add_library(Cohaul::cohaul ALIAS cohaul_all)
  install(TARGETS cohaul_all ${torch_folders} EXPORT CohaulTorch ARCHIVE COMPONENT dev FILE_SET HEADERS COMPONENT dev
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT CohaulTorch NAMESPACE Cohaul:: DESTINATION ${package_folder} COMPONENT dev)
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake DESTINATION ${package_folder} COMPONENT dev)
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/jobs DESTINATION ${CMAKE_INSTALL_DATADIR}/cohaul COMPONENT runtime)
get_property(programs GLOBAL PROPERTY COHAUL_PROGRAMS)
if(COHAUL_TORCH)
  # The installed worker is a script that finds LibTorch, wherever it lies on that machine, and becomes the program.
  list(REMOVE_ITEM programs cohaul-worker)
  set(worker_folder ${CMAKE_INSTALL_LIBEXECDIR}/cohaul)
  install(TARGETS cohaul-worker RUNTIME DESTINATION ${worker_folder} COMPONENT runtime)
  file(RELATIVE_PATH worker_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBEXECDIR}/cohaul)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/cohaul-worker.in ${PROJECT_BINARY_DIR}/cohaul-worker @ONLY)
  install(PROGRAMS ${PROJECT_BINARY_DIR}/cohaul-worker TYPE BIN COMPONENT runtime)
endif()
install(TARGETS ${programs} RUNTIME COMPONENT runtime)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/CohaulConfig.cmake.in ${PROJECT_BINARY_DIR}/CohaulConfig.cmake
  INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/CohaulConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/CohaulConfig.cmake ${PROJECT_BINARY_DIR}/CohaulConfigVersion.cmake DESTINATION ${package_folder} COMPONENT dev)

# cpack --config build/release/CPackConfig.cmake: the Debian packages. They hold no LibTorch, which is no Debian package.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The Cohaul project")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL runtime dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(needs_libtorch "It needs LibTorch ${LibTorch_VERSION}, which is no Debian package: of the active Python (pip install torch==${LibTorch_VERSION}), in /opt/libtorch, or where LibTorch_ROOT in the environment says. cohaul doctor tells which is found.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME cohaul)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "${PROJECT_DESCRIPTION}\nThe command cohaul, its worker and its server. ${needs_libtorch}")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${LibTorch_PREFIX}/lib)  # where dpkg-shlibdeps finds what no package holds
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS openssh-client)
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libcohaul-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_DESCRIPTION "${PROJECT_DESCRIPTION} (headers and static libraries)\nFor find_package(Cohaul). ${needs_libtorch}")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libhwy-dev, nlohmann-json3-dev, libssl-dev, zlib1g-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS "cohaul, g++, cmake")
include(CPack)

#pragma once
// PlantedFiles: a folder that stands for the machine's root, with files such as proc/meminfo.

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "cohaul/base/temporary_folder.h"

namespace cohaul {

/// The folder goes with it.
class PlantedFiles {
 public:
  /// Writes a file, and makes its folders.
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder_.file(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string file(const std::string& path) const { return folder_.file(path); }
  const std::string& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_ = std::move(TemporaryFolder::make("cohaul-planted")).value();
};

}  // namespace cohaul

#include "cohaul/data/keys.h"

#include <filesystem>

#include <string>

namespace cohaul::data {

using config::KeySpec;
using config::Type;

std::vector<KeySpec> data_keys() {
  return {
      {.key = "data.name",
       .type = Type::string,
       .help = "the data set",
       .required = true,
       .choices = {"fashion-mnist", "mnist", "idx"},
       .aliases = {"dataset", "data", "data_set"}},
      {.key = "data.path",
       .type = Type::path,
       .help = "its folder of four IDX files, plain or gzipped; of several sets in one folder (EMNIST) the folder and "
               "what is in front of their names: emnist/emnist-balanced; mnist and idx need it",
       .aliases = {"dir", "directory", "folder", "root", "data_dir"}},
      {.key = "data.shuffle",
       .type = Type::boolean,
       .help = "a new order each epoch; false: step s takes samples (s * batch + i) mod n",
       .fallback = true},
  };
}

bool is_of_several(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return false;
  const std::string first = path + "-train-images-idx3-ubyte";
  return std::filesystem::exists(first, error) || std::filesystem::exists(first + ".gz", error);
}

Status check_data(const config::Config& job) {
  const auto name = job.get<std::string>("data.name");
  if (name == "fashion-mnist" || job.has("data.path")) return {};
  return job.mistake("data.path", "missing; " + name + " is read from a folder of IDX files: set data.path to it");
}

}  // namespace cohaul::data

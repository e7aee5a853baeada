#include <unistd.h>

#include <filesystem>

#include "cohaul/checkpoint/file.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/safetensors.h"
#include "cohaul/cli/train_command.h"
#include "cohaul/data/keys.h"
#include "cohaul/observe/output.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;

Status of_key(const config::Config& job, const std::string& key, const Status& status) {
  return status.ok() ? status : job.mistake(key, status.message());
}

Status check_folder(const std::string& path) {
  if (data::is_of_several(path)) return {};
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return invalid("no such folder");
  if (!fs::is_directory(status)) return invalid("not a folder; give the folder that holds the IDX files");
  return {};
}

Status make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return invalid("the folder cannot be made: " + error.message());
  if (::access(path.c_str(), W_OK) != 0) return invalid("the folder cannot be written to; choose another");
  return {};
}

/// Checks that a run which starts from the beginning does not write into a folder with checkpoints of another run.
Status check_checkpoints(const config::Config& job, const std::string& path) {
  COHAUL_TRY(make_folder(path));
  if (job.resumes_from() == path || checkpoint::list(path).empty()) return {};
  return invalid(
      "the folder has checkpoints already, and this run does not go on from them: remove them, choose another "
      "folder, or set train.resume = \"auto\"");
}

}  // namespace

Status check_files(const config::Config& job, bool elsewhere) {
  if (auto path = job.find<std::string>("data.path"); path && !elsewhere)
    COHAUL_TRY(of_key(job, "data.path", check_folder(*path)));
  if (auto path = job.find<std::string>("train.init"); path && !elsewhere)
    COHAUL_TRY(of_key(job, "train.init", checkpoint::read(*path).status()));
  if (auto path = job.find<std::string>("train.save"))
    COHAUL_TRY(of_key(job, "train.save", checkpoint::check_writable(*path)));
  if (auto path = job.find<std::string>("train.checkpoint"))
    COHAUL_TRY(of_key(job, "train.checkpoint", check_checkpoints(job, *path)));
  if (auto path = job.find<std::string>("job.logs")) COHAUL_TRY(of_key(job, "job.logs", make_folder(*path)));
  return {};
}

Status check_outputs(const TrainArguments& arguments) {
  if (!arguments.csv.empty() && arguments.csv == arguments.record)
    return invalid("--csv " + arguments.csv + ": the record goes there; give the table a place of its own");
  COHAUL_TRY(observe::Output::append("--csv", arguments.csv).status());
  if (arguments.tensorboard.empty()) return {};
  return make_folder(arguments.tensorboard).context("--tensorboard " + arguments.tensorboard);
}

}  // namespace cohaul::cli

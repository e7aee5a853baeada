#include "cohaul/cli/checkpoint_command.h"

#include <filesystem>
#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/checkpoint/export.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;
using checkpoint::Manifest;

int mistake(const std::string& why) {
  std::cerr << "cohaul: " << why << "\n";
  return kUsersMistake;
}

std::string megabytes(const Manifest& m) {
  std::uint64_t bytes = 0;
  for (const checkpoint::FileEntry& f : m.files) bytes += f.bytes;
  return observe::fixed(static_cast<double>(bytes) / 1e6, 1);
}

int list(const std::string& folder) {
  std::vector<std::string> paths;
  if (fs::exists(folder + "/" + checkpoint::kManifestName)) paths = {folder};
  for (std::int64_t updates : checkpoint::list(folder))
    paths.push_back(folder + "/" + checkpoint::folder_name(updates));
  if (paths.empty()) return mistake(folder + ": there is no checkpoint");
  observe::Table table({"checkpoint", "updates", "MB", "strategy", "workers", "slices", "state"});
  bool any = false;
  for (const std::string& path : paths) {
    const std::string name = fs::path(path).filename().string();
    const Result<Manifest> m = checkpoint::verify(path);
    if (!m.ok()) {
      table.row({name, "", "", "", "", "", m.status().message()});
      continue;
    }
    any = true;
    table.row({name, observe::with_commas(m->updates), megabytes(*m), m->strategy, std::to_string(m->workers),
               std::to_string(m->slices), "good"});
  }
  std::cout << table.text();
  return any ? kDone : kUsersMistake;
}

int write(const std::string& folder, const std::string& file) {
  const checkpoint::Found found = checkpoint::find(folder);
  if (found.path.empty())
    return mistake(found.passed_over.empty() ? folder + ": there is no checkpoint"
                                             : found.passed_over.front().message());
  if (const Status s = checkpoint::export_parameters(found.path, found.manifest, file); !s.ok())
    return mistake(s.message());
  std::cout << file << ": the parameters after " << observe::with_commas(found.manifest.updates) << " updates, from "
            << found.path << "\n";
  return kDone;
}

}  // namespace

int run_checkpoint(const CheckpointArguments& arguments) {
  return arguments.export_file.empty() ? list(arguments.folder) : write(arguments.folder, arguments.export_file);
}

}  // namespace cohaul::cli

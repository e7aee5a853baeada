#pragma once
// A folder of checkpoints. Each is a folder "step-000000000150" of its own, with a manifest and files. While it is
// being written it has another name.

#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/manifest.h"

namespace cohaul::checkpoint {

constexpr const char* kManifestName = "manifest.json";
/// Worker 0's buffers.
constexpr const char* kBuffersName = "buffers.safetensors";
/// Parameters and buffers of the best evaluation, where they are kept.
constexpr const char* kBestName = "best.safetensors";
/// How the names of workers' own files begin.
constexpr const char* kWorkerPrefix = "worker-";
/// How the names of owners' files begin.
constexpr const char* kOwnerPrefix = "owner-";
/// How the name of one that is being written ends.
constexpr const char* kUnfinished = ".unfinished";

/// Returns "trainer-1": the name of another trainer's part, a checkpoint within the checkpoint.
std::string trainer_name(int trainer);
/// Returns "step-000000000150".
std::string folder_name(std::int64_t updates);

/// Makes the folder in which a checkpoint is written until it is whole; one that a killed run has left there is emptied. Returns its path.
/// Errors: invalid, naming the folder and the reason.
Result<std::string> begin(const std::string& folder, std::int64_t updates);
/// Makes the folder of another trainer's part, within what begin() made. Errors: invalid, naming the folder and the reason.
Status begin_part(const std::string& path);
/// Writes a manifest into its folder. Blocks until it is on the disk.
Status write_manifest(const std::string& checkpoint, const Manifest& manifest);
/// Writes the manifest into what begin() made, and gives the whole its name. An older checkpoint of the same step is replaced. Blocks until all
/// is on the disk.
Status commit(const std::string& folder, const Manifest& manifest);
/// Removes all but the newest `keep` checkpoints, and what killed runs have left.
void prune(const std::string& folder, int keep);

/// Returns the length and hash of a file of the folder. name: may be of a folder in it.
Result<FileEntry> entry_of(const std::string& folder, const std::string& name);

/// Reads the manifest of one checkpoint, without its files. Errors: invalid, naming the file.
Result<Manifest> read_manifest(const std::string& checkpoint);
/// Reads the manifest of one checkpoint, and compares every file with what it says. Errors: invalid, naming the file and what is wrong.
Result<Manifest> verify(const std::string& checkpoint);

/// Returns the numbers of updates of the folder's checkpoints, ascending, without a check of their content.
std::vector<std::int64_t> list(const std::string& folder);

struct Found {
  std::string path;  // of the checkpoint; empty: there is no good one
  Manifest manifest;
  std::vector<Status> passed_over;  // newer ones, and why
};
/// Returns `folder` itself where it is a checkpoint; else the newest good one in it. It need not exist.
Found find(const std::string& folder);

}  // namespace cohaul::checkpoint

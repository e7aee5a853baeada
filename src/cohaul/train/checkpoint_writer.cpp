#include "cohaul/train/checkpoint_writer.h"

#include <filesystem>
#include <utility>

#include "cohaul/base/watch.h"
#include "cohaul/checkpoint/folder.h"

namespace cohaul::train {
namespace {

std::string worker_key(const std::string& key, int rank) { return key + "/files/" + std::to_string(rank); }

/// Adds the files of which an owner has said that they are written; why they are not goes to `failed`. Errors: it says nothing.
Status take_files(const Result<std::string>& said, std::vector<checkpoint::FileEntry>& files, Status& failed) {
  COHAUL_TRY(said.status());
  const Result<std::vector<checkpoint::FileEntry>> theirs = checkpoint::files_of(*said);
  if (theirs.ok()) files.insert(files.end(), theirs->begin(), theirs->end());
  else if (failed.ok()) failed = theirs.status();
  return {};
}

/// This worker's files of a part; worker 0 waits for those of all.
Status write_part(job::Job& job, CheckpointPart& part) {
  const Result<std::vector<checkpoint::FileEntry>> mine =
      part.copied.ok() ? checkpoint::write_images(part.folder, part.images) : part.copied;
  part.images.clear();
  if (job.rank() != 0) {
    COHAUL_TRY(job.set(worker_key(part.key, job.rank()), checkpoint::text_of(mine)));
    return mine.status();
  }
  const Time deadline = steady_clock().now() + seconds(job.options().step_timeout_s);
  std::vector<checkpoint::FileEntry>& files = part.manifest.files;
  Status failed = mine.status();
  if (mine.ok()) files.insert(files.end(), mine->begin(), mine->end());
  for (int r = 1; r < job.world(); ++r)
    COHAUL_TRY(take_files(job.get_from(r, worker_key(part.key, r), deadline), files, failed));
  for (int k = 0; k < part.servers; ++k)
    COHAUL_TRY(take_files(job.get(server_key(part.key) + std::to_string(k), deadline), files, failed));
  return failed;
}

Status write_all(job::Job& job, const std::string& folder, int keep, CheckpointPart& whole,
                 std::vector<CheckpointPart>& parts) {
  for (CheckpointPart& part : parts) {
    COHAUL_TRY(write_part(job, part));
    if (job.rank() != 0) continue;
    COHAUL_TRY(checkpoint::write_manifest(part.folder, part.manifest));
    const std::string name = std::filesystem::path(part.folder).filename().string() + "/" + checkpoint::kManifestName;
    COHAUL_ASSIGN(checkpoint::FileEntry entry, checkpoint::entry_of(whole.folder, name));
    whole.manifest.files.push_back(std::move(entry));
  }
  COHAUL_TRY(write_part(job, whole));
  if (job.rank() != 0) return {};
  COHAUL_TRY(job.health());  // nothing is written after a loss
  COHAUL_TRY(checkpoint::commit(folder, whole.manifest));
  checkpoint::prune(folder, keep);
  return {};
}

}  // namespace

std::string server_key(const std::string& key) { return key + "/files/server/"; }

void CheckpointWriter::start(std::string folder, int keep, CheckpointPart whole, std::vector<CheckpointPart> parts) {
  writing_ = std::async(std::launch::async, [this, keep, folder = std::move(folder), whole = std::move(whole),
                                             parts = std::move(parts)]() mutable {
    const InBackground here;
    WrittenCheckpoint out;
    out.status = write_all(job_, folder, keep, whole, parts);
    for (const checkpoint::FileEntry& f : whole.manifest.files) out.bytes += f.bytes;
    out.at = steady_clock().now();
    return out;
  });
}

}  // namespace cohaul::train

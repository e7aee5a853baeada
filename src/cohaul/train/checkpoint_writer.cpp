#include "cohaul/train/checkpoint_writer.h"

#include <filesystem>
#include <utility>

#include "cohaul/base/facts.h"
#include "cohaul/base/watch.h"
#include "cohaul/checkpoint/folder.h"

namespace cohaul::train {
namespace {

std::string worker_key(const std::string& key, int rank) { return key + "/files/" + std::to_string(rank); }

/// Adds the files that an owner has reported as written. If it has reported an error, that goes to `failed`. Errors: there is no report.
Status take_files(const Result<std::string>& said, std::vector<checkpoint::FileEntry>& files, Status& failed) {
  COHAUL_TRY(said.status());
  const Result<std::vector<checkpoint::FileEntry>> theirs = checkpoint::files_of(*said);
  if (theirs.ok()) files.insert(files.end(), theirs->begin(), theirs->end());
  else if (failed.ok()) failed = theirs.status();
  return {};
}

/// Blocks until worker 0 has made the folder. Returns an error if it may not be written into.
Status begin(job::Job& job, CheckpointPlan& plan) {
  const std::string key = plan.whole.key + "/begun";
  const auto facts_of = [&](int rank) { return key + "/" + std::to_string(rank); };
  const Time deadline = steady_clock().now() + seconds(job.options().step_timeout_s);
  if (job.rank() != 0) {
    COHAUL_TRY(job.set(facts_of(job.rank()), plan.facts));
    COHAUL_ASSIGN(const std::string wrong, job.get_from(0, key, deadline));
    return wrong.empty() ? Status() : invalid(wrong);
  }
  Status wrong = plan.wrong;
  for (int r = 1; r < job.world(); ++r) {
    COHAUL_ASSIGN(const std::string facts, job.get_from(r, facts_of(r), deadline));
    if (wrong.ok()) wrong = compare_facts(plan.facts, "worker 0", facts, "worker " + std::to_string(r));
  }
  if (wrong.ok()) wrong = checkpoint::begin(plan.folder, plan.whole.manifest.updates).status();
  for (const CheckpointPart& part : plan.parts)
    if (wrong.ok()) wrong = checkpoint::begin_part(part.folder);
  COHAUL_TRY(job.set(key, wrong.message()));
  return wrong;
}

Result<std::vector<checkpoint::FileEntry>> write_mine(job::Job& job, const CheckpointPart& part) {
  COHAUL_TRY(part.copied);
  if (std::filesystem::exists(part.folder)) return checkpoint::write_images(part.folder, part.images);
  return invalid(part.folder + " is not there at worker " + std::to_string(job.rank()) +
                 ", and worker 0 has made it: all need the same folder");
}

/// Writes this worker's files of a part. Worker 0 also waits for the files of all others.
Status write_part(job::Job& job, CheckpointPart& part) {
  const Result<std::vector<checkpoint::FileEntry>> mine = write_mine(job, part);
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

Status write_all(job::Job& job, CheckpointPlan& plan) {
  if (plan.begins) COHAUL_TRY(begin(job, plan));
  for (CheckpointPart& part : plan.parts) {
    COHAUL_TRY(write_part(job, part));
    if (job.rank() != 0) continue;
    COHAUL_TRY(checkpoint::write_manifest(part.folder, part.manifest));
    const std::string name = std::filesystem::path(part.folder).filename().string() + "/" + checkpoint::kManifestName;
    COHAUL_ASSIGN(checkpoint::FileEntry entry, checkpoint::entry_of(plan.whole.folder, name));
    plan.whole.manifest.files.push_back(std::move(entry));
  }
  COHAUL_TRY(write_part(job, plan.whole));
  if (job.rank() != 0) return {};
  COHAUL_TRY(job.health());  // nothing is written after a loss
  COHAUL_TRY(checkpoint::commit(plan.folder, plan.whole.manifest));
  checkpoint::prune(plan.folder, plan.keep);
  return {};
}

}  // namespace

std::string server_key(const std::string& key) { return key + "/files/server/"; }

void CheckpointWriter::start(CheckpointPlan plan) {
  writing_ = std::async(std::launch::async, [this, plan = std::move(plan)]() mutable {
    const InBackground here;
    WrittenCheckpoint out;
    out.status = write_all(job_, plan);
    for (const checkpoint::FileEntry& f : plan.whole.manifest.files) out.bytes += f.bytes;
    out.at = steady_clock().now();
    return out;
  });
}

}  // namespace cohaul::train

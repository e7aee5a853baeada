#pragma once
// Writes copies of a training's state as a checkpoint, while training goes on.

#include <chrono>
#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "cohaul/checkpoint/image.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/job/job.h"

namespace cohaul::train {

/// The part of one trainer in a checkpoint.
struct CheckpointPart {
  std::string folder;  // where its files are
  std::string key;     // key in the job's store under which the processes that write files report them
  int servers = 0;     // number of servers that write files of their own
  std::vector<checkpoint::FileImage> images;  // files that this worker writes
  Status copied;                              // why it has no images, if copying failed
  checkpoint::Manifest manifest;              // at worker 0; the writer adds the files
};

/// Returns the prefix of the keys under which servers report their files; the server's rank follows.
std::string server_key(const std::string& key);

struct CheckpointPlan {
  std::string folder;  // the folder of all checkpoints
  int keep = 0;
  CheckpointPart whole;               // the checkpoint
  std::vector<CheckpointPart> parts;  // parts of other trainers, in folders within it
  /// The workers have not met before, so their threads do: each gives the facts that must be equal at all workers, and worker 0's makes the folders
  /// unless `wrong` has an error.
  bool begins = false;
  std::string facts;
  Status wrong;  // at worker 0
};

struct WrittenCheckpoint {
  Status status;            // at worker 0 of the whole checkpoint, at others of this worker's files
  std::uint64_t bytes = 0;  // size of all files, at worker 0
  Time at = 0;              // when it was written
};

/// One thread uses it, and it writes on a thread of its own. Worker 0's waits for the files of the others, then gives the checkpoint its final name.
class CheckpointWriter {
 public:
  /// job must outlive the writer.
  explicit CheckpointWriter(job::Job& job) : job_(job) {}
  /// Blocks until a write that was started is finished.
  ~CheckpointWriter() = default;

  /// Starts to write. No other write may be going on.
  void start(CheckpointPlan plan);
  bool is_writing() const { return writing_.valid(); }
  /// Returns whether finish() would return at once.
  bool is_done() const {
    return writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  /// Blocks until the checkpoint is written. Called once for each start().
  WrittenCheckpoint finish() { return writing_.get(); }

 private:
  job::Job& job_;
  std::future<WrittenCheckpoint> writing_;
};

}  // namespace cohaul::train

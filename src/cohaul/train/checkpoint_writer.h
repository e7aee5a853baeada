#pragma once
// Writes a checkpoint of copies, while training goes on.

#include <chrono>
#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "cohaul/checkpoint/image.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/job/job.h"

namespace cohaul::train {

/// What one trainer has in a checkpoint.
struct CheckpointPart {
  std::string folder;                         // of its files
  std::string key;                            // under which those who write some say so in the job's store
  int servers = 0;                            // that write files of their own
  std::vector<checkpoint::FileImage> images;  // that this worker writes
  Status copied;                              // or why it has none
  checkpoint::Manifest manifest;              // worker 0's; gets the files
};

/// Under which a server says its files: its rank follows.
std::string server_key(const std::string& key);

struct CheckpointPlan {
  std::string folder;  // of checkpoints
  int keep = 0;
  CheckpointPart whole;               // the checkpoint
  std::vector<CheckpointPart> parts;  // of other trainers, within it
  /// Workers have not met before. So the thread of each says the facts that must be equal at all, and worker 0's makes the folders unless something is
  /// wrong.
  bool begins = false;
  std::string facts;
  Status wrong;  // at worker 0
};

struct WrittenCheckpoint {
  Status status;            // at worker 0 of the whole, else of this worker's files
  std::uint64_t bytes = 0;  // of all files, at worker 0
  Time at = 0;              // when it was written
};

/// One thread uses it; another one writes. Worker 0's waits for the others' files, and gives the whole its name.
class CheckpointWriter {
 public:
  /// job: outlives it.
  explicit CheckpointWriter(job::Job& job) : job_(job) {}
  /// Blocks until what was begun is written.
  ~CheckpointWriter() = default;

  /// Nothing is being written.
  void start(CheckpointPlan plan);
  bool is_writing() const { return writing_.valid(); }
  /// Whether finish() would not block.
  bool is_done() const {
    return writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  /// Blocks until it is written. Once for each start().
  WrittenCheckpoint finish() { return writing_.get(); }

 private:
  job::Job& job_;
  std::future<WrittenCheckpoint> writing_;
};

}  // namespace cohaul::train

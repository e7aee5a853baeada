#pragma once
// The record of a run: JSON, one object a line, each line one write, so that processes may append to one file and a
// reader sees whole lines at once. Doubles that are not finite are null.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::observe {

struct StartRecord {
  std::string cohaul;  // versions
  std::string libtorch;
  std::string instruction_set;       // what bits may depend on
  std::string job;                   // the resolved job, a JSON object (Config::job_json())
  std::vector<std::string> notes{};  // what was decided and why, e.g. the choice of a transport
};

struct ProcessRecord {
  std::string role;  // "worker", "server"
  int rank = 0;
  std::int64_t pid = 0;
  std::string host, log;  // log: empty = null
};

/// Of asynchronous modes. Staleness: of the pushes since the last step record (in a result: of all); gap: the largest
/// seen.
struct Asynchrony {
  double staleness_mean = 0;
  std::int64_t staleness_max = 0, gap_max = 0;
};

struct StepRecord {
  std::int64_t step = 0;  // updates done, from 1
  double loss = 0;        // mean over the step's batch, before its update
  double samples_per_s = 0;
  std::optional<Asynchrony> asynchrony{};
  std::optional<double> waiting{};        // fraction of the time spent waiting for others
  std::optional<double> lr{};             // learning rate of the step
  std::optional<double> gradient_norm{};  // of the step, before clipping
  std::int64_t skipped = 0;               // updates left out so far, since a gradient was not finite
};

/// One that was written, or could not be.
struct CheckpointRecord {
  std::int64_t step = 0;  // updates done
  std::string path;
  std::uint64_t bytes = 0;
  double seconds = 0;
  std::string error{};  // empty: it is there
};

/// A run goes on from a checkpoint.
struct ResumedRecord {
  std::int64_t step = 0;  // updates that had been done
  std::string path;
  std::vector<std::string> passed_over{};  // newer checkpoints, and what is wrong with each
};

struct ResultRecord {
  std::int64_t steps = 0;
  double loss = 0;                                        // of the test set
  std::vector<std::pair<std::string, double>> metrics{};  // e.g. {"accuracy", 0.84}
  double step_ms_median = 0, samples_per_s = 0, seconds = 0;
  std::string parameters_sha256;
  std::optional<Asynchrony> asynchrony{};
  std::vector<std::pair<std::string, double>> measures{};  // anything else worth keeping, e.g. {"memory_bytes", …}
};

struct ErrorRecord {
  int exit = 1;
  std::string role{};  // empty: null (nobody in particular)
  std::optional<int> rank{};
  std::string operation, message;
};

/// A line without its newline. Bytes that are not UTF-8 are replaced.
std::string to_json(const StartRecord& record);
std::string to_json(const ProcessRecord& record);
std::string to_json(const StepRecord& record);
std::string to_json(const CheckpointRecord& record);
std::string to_json(const ResumedRecord& record);
std::string to_json(const ResultRecord& record);
std::string to_json(const ErrorRecord& record);

/// Where the lines go: a file, "-" (stdout), or nowhere. Owns the descriptor it opened. One thread.
class Record {
 public:
  Record() = default;  // nowhere
  /// Makes the file anew, or empties it. invalid: it cannot be written; names --record and the path. An empty path:
  /// nowhere.
  static Result<Record> create(const std::string& path);
  /// For the second and further writers of a run: goes on at the end.
  static Result<Record> append(const std::string& path);

  Record(Record&& other) noexcept : fd_(std::exchange(other.fd_, -1)), owned_(other.owned_) {}
  Record& operator=(Record&& other) noexcept;
  ~Record();

  /// internal: not written (a full disk).
  template <class T>
  Status write(const T& record) {
    return fd_ < 0 ? Status{} : write_line(to_json(record));
  }

 private:
  Record(int fd, bool owned) : fd_(fd), owned_(owned) {}
  static Result<Record> open(const std::string& path, int flags);
  Status write_line(std::string line);
  int fd_ = -1;
  bool owned_ = false;
};

}  // namespace cohaul::observe

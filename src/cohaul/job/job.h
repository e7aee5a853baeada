#pragma once
// Job: what a process knows of the run that it belongs to: its role and rank, the other processes, how to reach them,
// and whether one is lost. The only reader of the environment. Processes join at a rendezvous: all members connect to
// one store (the launcher's, or worker 0's when an engine started them: torchrun, Open MPI, MPICH, Slurm,
// Kubernetes).

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/base/watch.h"
#include "cohaul/transport/credentials.h"
#include "cohaul/transport/options.h"

namespace cohaul::transport {
enum class Access : std::uint8_t;
class Arena;
struct Identity;
struct Listening;
class Poller;
}  // namespace cohaul::transport

namespace cohaul::job {

struct Meeting;
struct Member;

/// The store has this key once all workers have said goodbye. It tells a server that no worker needs it any more.
constexpr char kWorkersLeftKey[] = "job/workers have left";

/// Under this key worker 0 says that all have ended early because they were asked to, and why: "143 stopped by
/// SIGTERM after step 1200; …". The number is the exit code.
constexpr char kStoppedKey[] = "job/stopped";

/// How to join. from_environment() fills it; a program inside an MPI solver fills rank, world and address itself.
struct JoinOptions {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  int world = 1;    // workers
  int servers = 0;  // server processes that were launched; 0: servers, if any, run as threads of the workers
  std::string
      address;  // "host:port" of the rendezvous, or worker 0's host, where the ports follow from `run_name`; empty with world 1
  std::string run_name;     // distinguishes this job from others at the same address; empty: the address does
  std::string engine;       // that started this process, if this one is to end with it, for messages; empty: none
  std::uint64_t token = 0;  // the job's secret; the launcher draws it
  bool launched = false;    // by Cohaul's launcher, which hosts the rendezvous; else worker 0 hosts it
  std::vector<std::string> listen{
      "127.0.0.1"};              // addresses, names or interfaces of this host; join() makes addresses of them
  std::uint16_t port = 0;        // job.port: of the rendezvous at worker 0; 0: that of `address` or `run_name`
  transport::PortRange ports{};  // job.ports: of all other listeners
  std::string
      secret;  // of the job, where it leaves its host: what is sent is encrypted (docs/security.md); empty: none
  std::shared_ptr<const transport::Certificate> certificate;  // of this process, in the place of a secret
  bool plaintext = false;  // job.plaintext: the others may be on other hosts, though nothing is encrypted
  transport::Form transport = transport::Form::auto_;
  double peer_timeout_s = 10, step_timeout_s = 600, join_timeout_s = 60;
  int wants_threads = 0;        // OMP_NUM_THREADS; 0: not set
  std::string instruction_set;  // of the library that computes gradients, for the record; train::join() asks LibTorch
  std::string log;              // path of this process's log, for the others to name; empty: none
};

/// Reads COHAUL_* (set by the launcher), else the variables of the engine that started this process
/// (engines/place.h); else returns one worker alone. Blocks, under MPI alone, until all tasks have asked the engine
/// where they are. Errors: invalid (names the variable, its value and what it should be; what to run instead); under
/// MPI also those of ask_directory().
Result<JoinOptions> from_environment();

/// Names last words, to take them back.
using LastWordsId = std::uint64_t;

/// Thread-safe but for close(). A heartbeat thread runs inside. It tells the rendezvous that this process lives, and
/// learns which process is lost. It ends this process (exit 3, one line on stderr) if the training thread does not
/// within 3 s after a loss. Functions that take or return a type that is only declared here are for Cohaul's own parts.
class Job : public Watch {
 public:
  Job();
  ~Job() override;
  /// Blocks until all members have joined, or join_timeout_s (peer_lost, naming who is missing). Errors: invalid
  /// (options that do not fit, or a job of an engine that leaves the host without `plaintext`).
  static Result<std::unique_ptr<Job>> join(const JoinOptions& options);
  virtual transport::Role role() const = 0;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  virtual int servers() const = 0;
  virtual const JoinOptions& options() const = 0;
  /// The members that this process knows: worker 0 knows all, every other process those of its host.
  virtual const std::vector<Member>& members() const = 0;
  /// The number of workers of this host, this one included; and this one's index among them (0: the host's leader).
  virtual int workers_on_host() const = 0;
  virtual int index_on_host() const = 0;
  virtual int processes_on_host() const = 0;

  /// Returns, by worker, the first worker of its host.
  virtual std::vector<int> hosts() const;
  /// Returns how many threads each worker is to use where job.threads is not set (cores.h): the same for all.
  virtual int threads() const { return 1; }

  /// The store has small values by name, written once and read by all. get() blocks until the value is there,
  /// `deadline` (peer_lost, naming the key) or a loss. Values are 1 MB at most.
  virtual Status set(const std::string& key, const std::string& value) = 0;
  virtual Result<std::string> get(const std::string& key, Time deadline) = 0;
  /// As get(), of a value that `worker` is to set. invalid: the worker has left the job without setting it.
  virtual Result<std::string> get_from(int /*worker*/, const std::string& key, Time deadline) {
    return get(key, deadline);
  }
  /// Returns all of prefix0 … prefix(count − 1), in this order, by one request. by_workers: as get_from(), each is
  /// set by the worker of its number. All together are 1 MB at most.
  virtual Result<std::vector<std::string>> gather(const std::string& prefix, int count, bool by_workers, Time deadline);
  /// Blocks until `count` callers of the same name have come. invalid: `count` is world(), and a worker that has not
  /// come has left the job.
  virtual Status barrier(const std::string& name, int count, Time deadline) = 0;

  /// Blocks until all workers have come to this meeting, or `deadline` (peer_lost, naming the workers that have not
  /// come and what they do, if known). Errors: invalid (workers came for different purposes or with different facts,
  /// naming both workers and both values; or a worker has left the job).
  virtual Status meet(const Meeting& meeting, Time deadline) = 0;
  /// Comes to a meeting without waiting for it, when the others need this worker no longer. Never blocks, and reports
  /// no failure.
  virtual void attend(const Meeting& meeting) = 0;
  /// Returns ok, unless a worker is known not to come to step `step` (from 0) of this group: it waits at a meeting of
  /// the group that this worker has not attended (number >= meetings) with progress <= step, or it has left the job.
  /// invalid, naming the worker, what it does and after how many steps. Never blocks, and costs one load while there
  /// is no news. News wake the pollers of wake_on_loss().
  virtual Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const = 0;
  /// Returns ok, unless this worker is known to have said goodbye to the job (invalid). Never blocks; news wake as
  /// those of absent() do.
  virtual Status left(int /*worker*/) const { return {}; }

  /// Returns where this process's endpoints are to listen.
  transport::Listening listening() const;

  /// Returns this process's identity for the channels of a conversation.
  virtual transport::Identity identity(const std::string& purpose, std::uint64_t model = 0) const = 0;

  /// Shares one arena per name and host. The host's leader makes it, calls `fill` and lends it; the others map it
  /// (they block until it is made, or `deadline`). access: of the others' mapping; the maker writes.
  virtual Result<transport::Arena> share_on_host(const std::string& name, std::size_t bytes, transport::Access access,
                                                 const std::function<Status(transport::Arena&)>& fill,
                                                 Time deadline) = 0;

  /// Call it when all workers have the arena. Closes the descriptor that the host's leader keeps for workers that
  /// come later.
  virtual void shared_with_all(const transport::Arena& arena) = 0;

  /// Returns how long the training thread has waited for others since this process joined, over the waits that have
  /// ended (set_waiting()).
  virtual Duration waited() const = 0;

  /// Wakes this poller on a loss, until forget(). A thread that waits for others registers its poller, and asks
  /// health() for the loss (role, rank, how, its last operation).
  virtual void wake_on_loss(transport::Poller* poller) = 0;
  virtual void forget(transport::Poller* poller) = 0;
  /// Tells the job that this process fails, and why. The heartbeat carries last_operation() by itself.
  virtual void report_failure(const Status& why) = 0;

  /// Tells that all is done but for writing it down, which this process does alone. From now on what becomes of the
  /// others is no loss, until its goodbye ends the job. peer_lost: one was lost before.
  virtual Status commit() { return {}; }
  /// Adds a function that close() calls before the goodbye, for what must still be said to others. The latest is
  /// called first; close() stops at the first error. It is destroyed after that, or when the job ends without a
  /// close(). Such a function may call at_close(), forget_at_close() and count().
  LastWordsId at_close(std::function<Status()> last_words);
  /// Removes last words and destroys them. No effect when they are being called or gone.
  void forget_at_close(LastWordsId id);
  /// Returns how often it was called before with this name: the same on all workers that call it in the same order.
  int count(const std::string& name);
  /// Says goodbye: from now on this process's end is no loss. Blocks for a short time. To the others, a process that
  /// ends without it is lost.
  virtual Status close() = 0;

 protected:
  Status say_last_words();
  void forget_last_words();

 private:
  struct Notes;  // the last words, and the counts
  std::unique_ptr<Notes> notes_;
};

}  // namespace cohaul::job

#pragma once
// Job: what a process knows of the run that it is part of: who it is, who the others are, how to reach them, and whether one
// is lost. The only reader of the environment. Joining is a rendezvous: all members meet at one store (the launcher's, or
// worker 0's when an engine started them: torchrun, Open MPI, MPICH, Slurm, Kubernetes).

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/mutex.h"
#include "cohaul/base/status.h"
#include "cohaul/base/watch.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/member.h"
#include "cohaul/transport/arena.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/poller.h"

namespace cohaul::job {

/// The store has this key once all workers have said goodbye: how a server learns that nobody needs it any more.
constexpr char kWorkersLeftKey[] = "job/workers have left";

/// Worker 0's word that all have ended early because they were asked to, and why: "143 stopped by SIGTERM after step 1200; …". The number is the exit code.
constexpr char kStoppedKey[] = "job/stopped";

/// How to join. from_environment() fills it; a program inside an MPI solver fills rank, world and address itself.
struct JoinOptions {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  int world = 1;    // workers
  int servers = 0;  // server processes that were launched; 0: servers, if any, run as threads of the workers
  std::string
      address;  // "host:port" of the rendezvous, or worker 0's host, where the ports follow from `run`; empty with world 1
  std::string run;          // what tells this job from others at the same address; empty: the address does
  std::string engine;       // that started this process, if it ends when that one does, for messages; empty: neither
  std::uint64_t token = 0;  // the job's secret; the launcher draws it
  bool launched = false;    // by Cohaul's launcher, which hosts the rendezvous; else worker 0 hosts it
  std::vector<std::string> listen{
      "127.0.0.1"};              // addresses, names or interfaces of this host; join() makes addresses of them
  std::uint16_t port = 0;        // job.port: of the rendezvous at worker 0; 0: that of `address` or `run`
  transport::PortRange ports{};  // job.ports: of all other listeners
  std::string
      secret;  // of the job, where it leaves its host: what is sent is encrypted (docs/security.md); empty: none
  std::shared_ptr<const transport::Certificate> certificate;  // of this process, in the place of a secret
  bool plaintext = false;  // job.plaintext: the others may be on other hosts, though nothing is encrypted
  transport::Form transport = transport::Form::auto_;
  double peer_timeout_s = 10, step_timeout_s = 600, join_timeout_s = 60;
  int wants_threads = 0;  // OMP_NUM_THREADS; 0: not set
  std::string log;        // path of this process's log, for the others to name; empty: none
};

/// Reads COHAUL_* (set by the launcher), else what the engine says that started this process (engines/place.h); else one worker alone. Blocks, under
/// MPI alone, until all tasks have asked the engine where they are. Errors: invalid (names the variable, its value and what it should be; what
/// to run instead); under MPI also those of ask_directory().
Result<JoinOptions> from_environment();

/// The place that an engine has given this process; none where Cohaul's launcher or nobody did. Errors: find_place()'s.
Result<std::optional<Place>> place_from_environment();

/// Last words, to be taken back.
using LastWordsId = std::uint64_t;

/// Thread-safe but for close(). A heartbeat thread runs inside: it tells the rendezvous that this process lives, learns who is
/// lost, and ends the process (exit 3, one line on stderr) if the training thread does not within a grace of 3 s after a loss.
class Job : public Watch {
 public:
  /// Blocks until all members have joined, or join_timeout_s (peer_lost, naming who is missing). invalid: options that do not fit, and a job of an
  /// engine that leaves the host without `plaintext`.
  static Result<std::unique_ptr<Job>> join(const JoinOptions& options);
  virtual transport::Role role() const = 0;
  virtual int rank() const = 0;
  virtual int world() const = 0;
  virtual int servers() const = 0;
  virtual const JoinOptions& options() const = 0;
  /// Worker 0 knows all; every other process knows those of its host.
  virtual const std::vector<Member>& members() const = 0;
  /// Workers of this host, this one included; and this one's index among them (0 = the host's leader).
  virtual int workers_on_host() const = 0;
  virtual int index_on_host() const = 0;
  virtual int processes_on_host() const = 0;

  /// By worker: the first worker of its host.
  virtual std::vector<int> hosts() const { return hosts_of_workers(members()); }
  /// How many threads each worker is to use where job.threads is not set (cores.h): the same for all.
  virtual int threads() const { return 1; }

  /// The store: small values by name, written once, read by all. get blocks until it is there, `deadline` (peer_lost, naming the
  /// key) or a loss. Values at most 1 MB.
  virtual Status set(const std::string& key, const std::string& value) = 0;
  virtual Result<std::string> get(const std::string& key, Time deadline) = 0;
  /// The same, of a value that `worker` is to set. invalid: it has left the job without.
  virtual Result<std::string> get_from(int /*worker*/, const std::string& key, Time deadline) {
    return get(key, deadline);
  }
  /// All of prefix0 … prefix(count − 1), in this order, by one question. by_workers: as get_from(), each is set by the worker of its number. All
  /// together at most 1 MB.
  virtual Result<std::vector<std::string>> gather(const std::string& prefix, int count, bool by_workers, Time deadline);
  /// All `count` callers (workers by default) of the same name meet. invalid: `count` is world(), and a worker left the job that has not come.
  virtual Status barrier(const std::string& name, int count, Time deadline) = 0;

  /// Blocks until all workers have come to this meeting, or `deadline` (peer_lost, naming who has not come and what they do, if known).
  /// invalid: workers came for different purposes or with different facts, naming both workers and both values; one has left the job.
  virtual Status meet(const Meeting& meeting, Time deadline) = 0;
  /// Comes to a meeting without waiting for it: the others need this worker no longer. Never blocks; nobody hears of a failure.
  virtual void attend(const Meeting& meeting) = 0;
  /// ok, unless a worker is known not to come to step `step` (from 0) of this group: it waits at a meeting of the group that this worker has not
  /// attended (number >= meetings) with progress <= step, or it has left the job. invalid, naming the worker, what it does and after how many
  /// steps. Never blocks, and costs one load while there is no news. News wake the pollers of wake_on_loss().
  virtual Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const = 0;
  /// ok, unless this worker is known to have said goodbye to the job (invalid). Never blocks; news wake as those of absent() do.
  virtual Status left(int /*worker*/) const { return {}; }

  /// Where this process's endpoints are to listen.
  transport::Listening listening() const { return {.hosts = options().listen, .ports = options().ports}; }

  /// Identity for channels of a conversation.
  virtual transport::Identity identity(const std::string& purpose, std::uint64_t model = 0) const = 0;

  /// One arena per name and host: the host's leader calls make(bytes) (which may fill it) and lends it; the others map it (blocks until made,
  /// or `deadline`). access: of the others' mapping; the maker writes.
  virtual Result<transport::Arena> share_on_host(const std::string& name, std::size_t bytes, transport::Access access,
                                                 const std::function<Status(transport::Arena&)>& fill,
                                                 Time deadline) = 0;

  /// All workers have it: gives the descriptor back that the host's leader keeps for those who come later.
  virtual void shared_with_all(const transport::Arena& arena) = 0;

  /// How long the training thread has waited for others since this process joined: ends of waits that set_waiting() told of.
  virtual Duration waited() const = 0;

  /// Who waits for others asks health() for a loss (role, rank, how, its last operation), and registers its poller to be woken by one.
  virtual void wake_on_loss(transport::Poller* poller) = 0;
  virtual void forget(transport::Poller* poller) = 0;
  /// What this process is doing, as others will read it if it is lost; the heartbeat carries last_operation() by itself.
  virtual void report_failure(const Status& why) = 0;

  /// All is done but for writing it down, which this process does alone: from now on what becomes of the others is no loss, until its
  /// goodbye ends the job. peer_lost: one was lost before.
  virtual Status commit() { return {}; }
  /// For what must be said to others before the goodbye: close() calls it, the latest first, and stops at the first error; it is gone
  /// with what it holds after that, or when the job ends without a close(). They may themselves call at_close(), forget_at_close() and count().
  LastWordsId at_close(std::function<Status()> last_words);
  /// Takes last words back, with what they hold. No effect when they are being said or gone.
  void forget_at_close(LastWordsId id);
  /// How often this was asked before with this name: the same on all workers that ask in the same order.
  int count(const std::string& name);
  /// Says goodbye: from now on this process's end is no loss. Blocks shortly. Every exit without it is a loss to the others.
  virtual Status close() = 0;

 protected:
  Status say_last_words();
  void forget_last_words();

 private:
  using LastWords = std::map<LastWordsId, std::function<Status()>>;

  Mutex words_mutex_;                                     // nobody's last words are said or destroyed under it
  LastWords last_words_ COHAUL_GUARDED_BY(words_mutex_);  // in the order in which they were given
  LastWordsId last_words_id_ COHAUL_GUARDED_BY(words_mutex_) = 0;
  std::map<std::string, int> counts_ COHAUL_GUARDED_BY(words_mutex_);
};

}  // namespace cohaul::job

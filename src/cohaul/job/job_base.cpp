#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <map>
#include <sstream>
#include <utility>

#include "cohaul/base/digits.h"
#include "cohaul/base/last_operations.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/local_job.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

using LastWords = std::map<LastWordsId, std::function<Status()>>;

struct Job::Notes {
  Mutex mutex;                                    // last words are called and destroyed without it
  LastWords last_words COHAUL_GUARDED_BY(mutex);  // in the order in which they were given
  LastWordsId last_id COHAUL_GUARDED_BY(mutex) = 0;
  std::map<std::string, int> counts COHAUL_GUARDED_BY(mutex);
};

Job::Job() : notes_(std::make_unique<Notes>()) {}
Job::~Job() = default;

std::vector<int> Job::hosts() const { return hosts_of_workers(members()); }

transport::Listening Job::listening() const { return {.hosts = options().listen, .ports = options().ports}; }

LastWordsId Job::at_close(std::function<Status()> last_words) {
  Notes& notes = *notes_;
  const MutexLock lock(notes.mutex);
  notes.last_words.emplace(++notes.last_id, std::move(last_words));
  return notes.last_id;
}

void Job::forget_at_close(LastWordsId id) {
  LastWords::node_type forgotten;  // destroyed after the lock: since what it holds may call this object
  Notes& notes = *notes_;
  const MutexLock lock(notes.mutex);
  forgotten = notes.last_words.extract(id);
}

void Job::forget_last_words() {
  LastWords forgotten;
  Notes& notes = *notes_;
  const MutexLock lock(notes.mutex);
  forgotten.swap(notes.last_words);
}

Result<std::vector<std::string>> Job::gather(const std::string& prefix, int count, bool by_workers, Time deadline) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    const std::string key = prefix + std::to_string(i);
    COHAUL_ASSIGN(out.emplace_back(), by_workers ? get_from(i, key, deadline) : get(key, deadline));
  }
  return out;
}

Status Job::say_last_words() {
  Notes& notes = *notes_;
  for (;;) {
    LastWords::node_type latest;
    {
      const MutexLock lock(notes.mutex);
      if (notes.last_words.empty()) return {};
      latest = notes.last_words.extract(std::prev(notes.last_words.end()));
    }
    COHAUL_TRY(latest.mapped()());
  }
}

int Job::count(const std::string& name) {
  Notes& notes = *notes_;
  const MutexLock lock(notes.mutex);
  return notes.counts[name]++;
}

JobBase::JobBase(const JoinOptions& options, const transport::Identity& self, Welcome welcome)
    : options_(options),
      self_(self),
      members_(std::move(welcome.members)),
      hosts_(std::move(welcome.hosts)),
      threads_(welcome.threads) {
  const MemberKey own{options_.role, options_.rank};
  for (const Member& m : members_) {
    if (m.key() == own) host_id_ = m.host_id;
  }
  for (const Member& m : members_) {
    if (m.host_id != host_id_) continue;
    ++processes_on_host_;
    if (m.role != transport::Role::worker) continue;
    ++workers_on_host_;
    if (options_.role == transport::Role::worker && m.rank < options_.rank) ++index_on_host_;
  }
}

transport::Identity JobBase::identity(const std::string& purpose, std::uint64_t model) const {
  transport::Identity out = self_;
  out.purpose = purpose;
  out.model = model;
  return out;
}

bool JobBase::set_waiting(bool waiting) {
  const Time now = steady_clock().now(), since = waits_since_.exchange(waiting ? now : kForever);
  if (since == kForever) return false;
  waited_ += now - since;
  return true;
}

void JobBase::drop_lent() {
  const MutexLock lock(lent_mutex_);
  desk_.reset();
}

void JobBase::shared_with_all(const transport::Arena& arena) {
  const MutexLock lock(lent_mutex_);
  if (const auto it = tickets_.find(arena.id()); it != tickets_.end() && desk_) desk_->withdraw(it->second);
}

/// Returns a descriptor with the rights of `access`.
Result<transport::Descriptor> JobBase::copy_of(const transport::Arena& arena, transport::Access access) {
  const std::string path = "/proc/self/fd/" + std::to_string(arena.fd());
  const bool may_write = access == transport::Access::write;
  transport::Descriptor copy(may_write ? ::fcntl(arena.fd(), F_DUPFD_CLOEXEC, 0)
                                       : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!copy.valid()) return system_error("lend memory", errno);
  return copy;
}

Status JobBase::lend(const std::string& key, const transport::Arena& arena, transport::Access access) {
  COHAUL_ASSIGN(transport::Descriptor copy, copy_of(arena, access));
  const std::uint64_t ticket = random_bits();
  std::string name;
  {
    const MutexLock lock(lent_mutex_);
    if (!desk_) {
      COHAUL_ASSIGN(desk_,
                    transport::MemoryDesk::open("cohaul-memory-" + hex_of(random_bits()) + hex_of(random_bits())));
    }
    desk_->offer(ticket, std::move(copy));
    tickets_[arena.id()] = ticket;
    name = desk_->name();
  }
  return set(key, name + " " + std::to_string(ticket) + " " + std::to_string(arena.id()));
}

Result<transport::Arena> JobBase::share_on_host(const std::string& name, std::size_t bytes, transport::Access access,
                                                const std::function<Status(transport::Arena&)>& fill, Time deadline) {
  const std::string context = "share '" + name + "' on this host";
  const std::string key = "share/" + host_id_ + "/" + name;
  if (index_on_host_ == 0 && role() == transport::Role::worker) {
    note_operation("make shared memory of bytes", static_cast<std::int64_t>(bytes));
    auto arena = transport::Arena::create(name, bytes);
    Status status = arena.status();
    if (status.ok() && fill) status = fill(*arena);
    if (status.ok() && processes_on_host_ > 1) status = lend(key, *arena, access);
    if (!status.ok()) return status.context(context);
    return arena;
  }
  note_operation("wait for shared memory of bytes", static_cast<std::int64_t>(bytes));
  COHAUL_ASSIGN(std::string text, get(key, deadline).context(context));
  std::string desk;
  std::uint64_t ticket = 0;
  transport::ArenaId id = 0;
  if (!(std::istringstream(text) >> desk >> ticket >> id)) return corrupt(context + ": '" + text + "' names no memory");
  COHAUL_ASSIGN(
      transport::Descriptor memory,
      transport::ask_desk(desk, ticket, deadline).context("the memory of the host's first worker").context(context));
  COHAUL_ASSIGN(transport::Arena arena, transport::Arena::map(id, memory.take(), access).context(context));
  if (arena.bytes().size() < bytes) {
    return invalid(context + ": the host's first worker made " + std::to_string(arena.bytes().size()) +
                   " bytes, this one needs " + std::to_string(bytes));
  }
  return arena;
}

}  // namespace cohaul::job

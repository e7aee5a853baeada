#include "cohaul/job/host_proof.h"

#include <sys/mman.h>
#include <unistd.h>

#include "cohaul/base/digits.h"
#include "cohaul/base/random.h"
#include "cohaul/job/job_id.h"

namespace cohaul::job {
namespace {

constexpr Duration kPatience = 2 * kSecond;
constexpr int kTries = 20;  // the first process may have ended between two tries
constexpr std::size_t kIdBytes = 32;

std::string draw_id() { return hex_of(random_bits()) + hex_of(random_bits()); }

/// Returns memory with the id, which can be handed over; none where the system gives no memory.
transport::Descriptor memory_of(const std::string& id) {
  transport::Descriptor memory(::memfd_create("cohaul host", MFD_CLOEXEC));
  if (!memory.valid() || ::pwrite(memory.get(), id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) return {};
  return memory;
}

std::string id_in(const transport::Descriptor& memory) {
  std::string id(kIdBytes, '\0');
  return ::pread(memory.get(), id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()) ? id : "";
}

}  // namespace

HostProof HostProof::of(const transport::Identity& self) {
  HostProof out;
  const std::string name = "cohaul-host-" + hex_of(self.job);
  const std::uint64_t ticket = mix_seed(self.job, self.token);
  const std::string mine = draw_id();
  for (int i = 0; i < kTries && out.host_id_.empty(); ++i) {
    transport::MemoryDesk::Offers offers;
    transport::Descriptor memory_with_mine = memory_of(mine);
    if (!memory_with_mine.valid()) break;
    offers[ticket] = std::move(memory_with_mine);
    auto desk = transport::MemoryDesk::open(name, std::move(offers));
    if (desk.ok()) {
      out.host_id_ = mine;
      out.desk_ = std::move(*desk);
    } else if (auto memory = transport::ask_desk(name, ticket, steady_clock().now() + kPatience); memory.ok()) {
      out.host_id_ = id_in(*memory);
    }
  }
  if (out.host_id_.empty()) out.host_id_ = mine;
  return out;
}

}  // namespace cohaul::job

// Arbitrary bytes as messages of agents and launchers: what can be decoded is encoded and decoded again.
#include <cstdint>
#include <cstdlib>

#include "cohaul/job/hosts/agent_messages.h"
#include "cohaul/job/hosts/host_list.h"

using namespace cohaul;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)job::parse_hosts(bytes, size % 7 == 0 ? std::optional<int>() : static_cast<int>(size % 7)).ok();
  const auto message = job::decode_agent_message(bytes);
  if (!message.ok()) return 0;
  if (!job::decode_agent_message(job::encode(*message)).ok()) std::abort();
  (void)job::event_of(*message).ok();
  (void)job::status_of(*message).ok();
  const auto plan = job::plan_of(*message);
  if (plan.ok() && !job::plan_of(job::message_of(*plan)).ok()) std::abort();
  return 0;
}

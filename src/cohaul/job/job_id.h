#pragma once
// Identities of this process, as the others know it: drawn or derived.

#include "cohaul/base/ids.h"
#include "cohaul/job/job.h"
#include "cohaul/job/member.h"
#include "cohaul/transport/channel.h"

namespace cohaul::job {

/// Returns 64 random bits of the system's.
std::uint64_t random_bits();
/// Returns an id that is the same in all processes of a job: of the launcher's token, else of its run's name, else of
/// the address.
std::uint64_t job_id(std::uint64_t token);
std::uint64_t job_id(const std::string& name);
/// Returns the ports at which worker 0 may listen when only its host is known. It takes the first that is free.
std::vector<std::uint16_t> ports_of(const std::string& run_name);
/// Returns the identity for the control channel; draws an incarnation.
transport::Identity control_identity(const JoinOptions& options);
/// Returns this process as a member. host_id: of this host, for this job.
Member this_member(const JoinOptions& options, Incarnation incarnation, const std::string& host_id);
/// Returns the name of this machine, for people.
std::string host_name();

}  // namespace cohaul::job

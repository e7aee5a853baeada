#pragma once
// Who this process is to the others: identities drawn or derived.

#include "cohaul/job/job.h"

namespace cohaul::job {

/// 64 random bits of the system's.
std::uint64_t random_bits();
/// The same in all processes of a job: of the launcher's token, else of its run's name, else of the address.
std::uint64_t job_id(std::uint64_t token);
std::uint64_t job_id(const std::string& name);
/// Where worker 0 listens when only its host is known: the first of these that is free.
std::vector<std::uint16_t> ports_of(const std::string& run);
/// For the control channel; draws an incarnation.
transport::Identity control_identity(const JoinOptions& options);
/// host_id: of this host, for this job.
Member this_member(const JoinOptions& options, Incarnation incarnation, const std::string& host_id);
/// The name of this machine, for people.
std::string host_name();

}  // namespace cohaul::job

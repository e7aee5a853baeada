#pragma once
// For tests: system calls that the kernel refuses, as an older kernel or a container does. Link the target test_refused_calls.

#include <functional>
#include <vector>

namespace cohaul::testing_tools {

/// From now on the calls (SYS_…) fail with `error` in this thread and in all that it starts; this cannot be undone. False: the kernel has no seccomp.
bool refuse_calls(const std::vector<long>& calls, int error);

/// Returns whether refuse_calls() can be had. qemu-user has no seccomp.
bool can_refuse_calls();

/// Runs `body` in a process of its own, in which the calls are refused. Returns whether it came back true.
bool holds_without(const std::vector<long>& calls, int error, const std::function<bool()>& body);

}  // namespace cohaul::testing_tools

#pragma once
// How the kernel's files below /proc and /sys are read.

#include <string>
#include <vector>

namespace cohaul::job {

/// Returns the first line of a file; empty: it cannot be read.
std::string first_line(const std::string& path);

/// Returns the folders of this process's control groups for "memory" or "cpu" and of those above them, as far as they are visible here, in the first
/// version of the kernel's interface or the second. Some may not exist. root: the folder that holds proc/ and sys/.
std::vector<std::string> control_groups(const std::string& controller, const std::string& root);

}  // namespace cohaul::job

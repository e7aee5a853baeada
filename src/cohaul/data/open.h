#pragma once
// Data sets by name.

#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/data/images.h"

namespace cohaul::job {
class Job;
}

namespace cohaul::data {

struct Sets {
  Images train, test;
  int classes = 0;  // labels are 0 to classes − 1
};

/// What can be known of a data set without unpacking the images.
struct Info {
  Images::Shape train, test;
  int classes;
};

/// Returns the names that load() knows: "fashion-mnist" (default path: where Debian's dataset-fashion-mnist installs it), "mnist" and "idx" (path
/// required).
std::vector<std::string_view> names();

/// Checks a data set by its file names, headers, lengths and labels. Takes milliseconds; it is called before a job starts. path: a folder with the
/// four IDX files, or a prefix of their names in a folder with several sets ("emnist/emnist-balanced"); empty: the default of the name. idx accepts
/// images of any size, and has as many classes as its labels need.
/// Errors: invalid, naming the key or file, what is wrong, and the fix.
Result<Info> check(const std::string& name, const std::string& path = {});

/// Loads a data set. With a job, one worker of each host unpacks the files into shared memory, and all workers of the host read them there. Every
/// worker of the job must make the same call; it blocks until the data is there, at most job.join_timeout_s. Without a job the data is unpacked into
/// memory of this process. Errors: those of check() and of Job::share_on_host().
Result<Sets> load(const std::string& name, const std::string& path = {}, job::Job* job = nullptr);

}  // namespace cohaul::data

#pragma once
// Data sets by name.

#include <string>
#include <string_view>
#include <vector>

#include "cohaul/data/images.h"
#include "cohaul/job/job.h"

namespace cohaul::data {

struct Sets {
  Images train, test;
  int classes = 0;  // labels are below
};

/// What is known without unpacking the images.
struct Info {
  Images::Shape train, test;
  int classes;
};

/// The names that load() knows: "fashion-mnist" (path: where Debian's dataset-fashion-mnist puts it), "mnist" and "idx" (path must be given).
std::vector<std::string_view> names();

/// Everything that can be told from names, headers, lengths and labels, within milliseconds: before a job starts.
/// path: a folder of the four IDX files, or with what is in front of their names in a folder of several sets ("emnist/emnist-balanced"); empty: the
/// default of the name. idx has images of any size, and as many classes as its labels tell apart. Errors: invalid, naming the key or file, what is wrong, and the fix.
Result<Info> check(const std::string& name, const std::string& path = {});

/// With a job, the files are unpacked once a host, by its leader, into an arena that all workers of the host read; every worker of the job calls
/// it alike; blocks until then, at most job.join_timeout_s. Alone (null), into memory of this process.
/// Errors: as check's; what share_on_host returns.
Result<Sets> load(const std::string& name, const std::string& path = {}, job::Job* job = nullptr);

}  // namespace cohaul::data

#pragma once
// Home: the host where the command runs. What comes from the other hosts is written there: output, logs and results.

#include <map>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/member.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

struct HomeFile {
  enum class How {
    append,  // to a file that is there
    anew,    // makes the file anew at the first byte
    folder,  // the name is a folder; its files get the output's name in front of theirs
    whole    // gives the file its name when it has come whole
  };
  std::string name;  // of the plan's output
  std::string path;
  How how = How::append;
};

/// One thread.
class Home {
 public:
  Home(std::vector<HomeFile> files, int first_stdout, int first_stderr);
  ~Home();

  /// Opens the logs. folder: made if missing; empty: a temporary one. invalid, naming job.logs.
  Status open(const std::string& folder, const std::vector<MemberKey>& members);
  std::string log_of(MemberKey who) const;
  void remove_temporary() { temporary_ = {}; }

  // Errors: invalid, naming the file.
  Status add_to_log(MemberKey who, const std::string& bytes);
  /// stream: 1, 2.
  void pass_on(int stream, const std::string& bytes) const;
  /// name: of an output, or of a file in an output that is a folder.
  Status add_to_file(const std::string& name, const std::string& bytes);
  /// Call it when all has come: files that are to be whole get their names.
  Status finish();

 private:
  struct Log {
    std::string path;
    transport::Descriptor fd;
  };
  Result<std::string> path_of(const std::string& name) const;
  const HomeFile* output_of(const std::string& name) const;

  const std::vector<HomeFile> files_;
  const int first_stdout_, first_stderr_;
  TemporaryFolder temporary_;
  std::map<MemberKey, Log> logs_;
  std::map<std::string, transport::Descriptor> open_;  // by name
};

}  // namespace cohaul::job

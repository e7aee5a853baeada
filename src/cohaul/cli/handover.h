#pragma once
// The resolved job on its way to the workers: a file in memory, which leaves nothing behind however the command ends.

#include <string>

#include "cohaul/base/status.h"

namespace cohaul::cli {

/// Owns the memory; its path can be opened by processes of the same user while this lives.
class Handover {
 public:
  static Result<Handover> of(const std::string& text);
  Handover(Handover&& other) noexcept;
  Handover& operator=(Handover&&) = delete;
  ~Handover();
  const std::string& path() const { return path_; }
  /// The program that this process becomes may open the path, too.
  void keep_for_exec() const;

 private:
  explicit Handover(int fd);
  int fd_;
  std::string path_;
};

}  // namespace cohaul::cli

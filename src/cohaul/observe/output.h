#pragma once
// A file that a sink writes to, piece by piece, each one write, so that readers see whole pieces at once.

#include <string>
#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul::observe {

/// A file, "-" (stdout), or nowhere. Owns the descriptor that it opened. One thread.
class Output {
 public:
  Output() = default;  // nowhere
  /// Makes the file anew, or empties it. option: what the user named the path with ("--record"). An empty path: nowhere. invalid: it cannot
  /// be written; names option and path.
  static Result<Output> create(const std::string& option, const std::string& path);
  /// Goes on at the end of the file, which is made if it is not there; of a named pipe whose reader has gone: nowhere.
  static Result<Output> append(const std::string& option, const std::string& path);

  Output(Output&& other) noexcept { *this = std::move(other); }
  Output& operator=(Output&& other) noexcept;
  ~Output();

  /// All of it, or nothing more once something could not be written, or who read it has gone.
  void write(std::string_view piece);
  /// internal: something was not written (a full disk). A reader that has gone is no failure.
  const Status& status() const { return status_; }

 private:
  static Result<Output> open(const std::string& option, const std::string& path, int flags);
  int fd_ = -1;
  bool owned_ = false, gone_ = false;
  std::string name_;
  Status status_;
};

}  // namespace cohaul::observe

#pragma once
// A file that a sink writes to. Each piece is one write, so that readers see whole pieces.

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
  /// Writes at the end of the file, which is made if it is not there. Where the path is a named pipe whose reader has
  /// gone, all is dropped.
  static Result<Output> append(const std::string& option, const std::string& path);

  Output(Output&& other) noexcept { *this = std::move(other); }
  Output& operator=(Output&& other) noexcept;
  ~Output();

  /// Writes the whole piece. Does nothing after a write has failed or the reader has gone.
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

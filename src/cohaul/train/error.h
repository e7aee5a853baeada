#pragma once
// The public face throws: LibTorch's users live with exceptions.

#include <stdexcept>
#include <utility>

#include "cohaul/base/status.h"

namespace cohaul {

/// what() is the whole message with its context; code() says what to do about it.
class Error : public std::runtime_error {
 public:
  explicit Error(Status status) : std::runtime_error(status.message()), status_(std::move(status)) {}
  Code code() const { return status_.code(); }
  const Status& status() const { return status_; }

 private:
  Status status_;
};

/// Thrown by step() and by a loop after a SIGTERM or SIGINT, at all workers after the same step: the checkpoint is written, the trainer is closed.
/// what() says which signal, after which step, and where the checkpoint is. cohaul::run() ends the program with exit_code().
class Stopped : public Error {
 public:
  Stopped(const std::string& what, int exit_code) : Error(unavailable(what)), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }  // 143, 130

 private:
  int exit_code_;
};

namespace train {

inline void or_throw(const Status& status) {
  if (!status.ok()) throw Error(status);
}
template <class T>
T or_throw(Result<T> result) {
  or_throw(result.status());
  return std::move(*result);
}

}  // namespace train
}  // namespace cohaul

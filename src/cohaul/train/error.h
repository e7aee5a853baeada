#pragma once
// The exceptions of the public interface, and conversions from Status and Result to them.

#include <stdexcept>
#include <utility>

#include "cohaul/base/status.h"

namespace cohaul {

/// The public interface reports failures by this exception. what() returns the whole message with its context; code() says how a caller should react.
class Error : public std::runtime_error {
 public:
  explicit Error(Status status) : std::runtime_error(status.message()), status_(std::move(status)) {}
  Code code() const { return status_.code(); }
  const Status& status() const { return status_; }

 private:
  Status status_;
};

/// Thrown at all workers after the same step, by step() or by the loop, when a SIGTERM or SIGINT came. The checkpoint has been written and the
/// trainer is closed. what() names the signal, the step and the checkpoint. cohaul::run() ends the program with exit_code().
class Stopped : public Error {
 public:
  Stopped(const std::string& what, int exit_code) : Error(unavailable(what)), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }  // 143 after SIGTERM, 130 after SIGINT

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

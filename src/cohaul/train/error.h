#pragma once
// The exception that ends a training early.

#include <string>

#include "cohaul/base/error.h"

namespace cohaul {

/// Thrown at all workers after the same step, by step() or by the loop, when a SIGTERM or SIGINT came. The checkpoint has been written and the
/// trainer is closed. what() names the signal, the step and the checkpoint. cohaul::run() ends the program with exit_code().
class Stopped : public Error {
 public:
  Stopped(const std::string& what, int exit_code) : Error(unavailable(what)), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }  // 143 after SIGTERM, 130 after SIGINT

 private:
  int exit_code_;
};

}  // namespace cohaul

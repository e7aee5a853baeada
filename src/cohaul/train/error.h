#pragma once
// What a training throws beside Error.

#include <string>

#include "cohaul/base/error.h"

namespace cohaul {

/// Thrown by step() and by a loop after a SIGTERM or SIGINT, at all workers after the same step: the checkpoint is written, the trainer is closed.
/// what() says which signal, after which step, and where the checkpoint is. cohaul::run() ends the program with exit_code().
class Stopped : public Error {
 public:
  Stopped(const std::string& what, int exit_code) : Error(unavailable(what)), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }  // 143, 130

 private:
  int exit_code_;
};

}  // namespace cohaul

#pragma once
// Tail: reads a file as it grows.

#include <string>

#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

class Tail {
 public:
  /// The file need not be there yet.
  explicit Tail(std::string path) : path_(std::move(path)) {}
  /// Returns what has been added since the last call, at most `most` bytes; empty: nothing.
  std::string read(std::size_t most);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  transport::Descriptor fd_;
  std::size_t at_ = 0;
};

}  // namespace cohaul::job

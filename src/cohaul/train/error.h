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

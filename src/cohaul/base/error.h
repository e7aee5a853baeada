#pragma once
// The public face throws: LibTorch's users live with exceptions, and autograd knows no Status.

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

/// Throws an Error where the status is not ok.
inline void or_throw(const Status& status) {
  if (!status.ok()) throw Error(status);
}
/// Returns the value of the result, or throws its status as an Error.
template <class T>
T or_throw(Result<T> result) {
  or_throw(result.status());
  return std::move(*result);
}

}  // namespace cohaul

#pragma once
// Errors as values. A Status says what the caller should do (its code), the root cause, and the chain of contexts it
// passed on its way up. A Result<T> is a T or such a Status. Neither throws; both are [[nodiscard]].
// Source of the idea "name a code by the reaction": kj::Exception::Type.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "cohaul/base/check.h"

namespace cohaul {

/// Named for what the caller should do.
enum class Code : unsigned char {
  ok = 0,
  invalid,      ///< tell the user what is wrong with the input, and how to mend it
  unavailable,  ///< retry with backoff
  peer_lost,    ///< re-form the group; a process or connection is gone, or a deadline passed
  stale,        ///< pull again
  unsupported,  ///< choose another
  corrupt,      ///< stop, keep the evidence
  internal,     ///< the system refused something that it should grant (memory, files, threads)
};

std::string_view name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(Code code, std::string message);

  bool ok() const { return detail_ == nullptr; }
  explicit operator bool() const { return ok(); }
  Code code() const { return detail_ ? detail_->code : Code::ok; }
  /// The root cause, without context. Empty when ok.
  std::string_view cause() const;
  /// Context first, root cause last: "step 300: push partition 7 to server 1: connection closed".
  std::string message() const;
  /// Adds a context in front (rank, peer, operation, step). No effect when ok.
  Status context(std::string_view what) const;

 private:
  struct Detail {
    Code code;
    std::string cause;
    std::string context;
  };
  std::shared_ptr<const Detail> detail_;
};

inline Status invalid(std::string m) { return {Code::invalid, std::move(m)}; }
inline Status unavailable(std::string m) { return {Code::unavailable, std::move(m)}; }
inline Status peer_lost(std::string m) { return {Code::peer_lost, std::move(m)}; }
inline Status stale(std::string m) { return {Code::stale, std::move(m)}; }
inline Status unsupported(std::string m) { return {Code::unsupported, std::move(m)}; }
inline Status corrupt(std::string m) { return {Code::corrupt, std::move(m)}; }
inline Status internal(std::string m) { return {Code::internal, std::move(m)}; }
/// `internal` with the text of an errno value: "open /x: No such file or directory".
Status system_error(std::string_view what, int error);

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  /// Aborts where the status is ok, since there would be no value.
  Result(Status status) : value_(std::move(status)) {
    COHAUL_CHECK(!std::get<1>(value_).ok(), "a Result is made of a value or of an error");
  }

  bool ok() const { return value_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(value_); }
  const T& value() const& { return std::get<0>(value_); }
  T&& value() && { return std::get<0>(std::move(value_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Status status() const { return ok() ? Status{} : std::get<1>(value_); }
  Result context(std::string_view what) && {
    if (ok()) return std::move(*this);
    return status().context(what);
  }

 private:
  std::variant<T, Status> value_;
};

}  // namespace cohaul

#define COHAUL_JOIN2(a, b) a##b
#define COHAUL_JOIN(a, b) COHAUL_JOIN2(a, b)

/// Returns from the calling function when `expr` (a Status) is not ok.
#define COHAUL_TRY(expr)                                   \
  do {                                                     \
    if (::cohaul::Status s_ = (expr); !s_.ok()) return s_; \
  } while (0)

/// COHAUL_ASSIGN(auto x, f()): x becomes the value of the Result, or its Status is returned.
#define COHAUL_ASSIGN(declaration, expr) COHAUL_ASSIGN_(declaration, expr, COHAUL_JOIN(result_, __LINE__))
#define COHAUL_ASSIGN_(declaration, expr, temporary) \
  auto temporary = (expr);                           \
  if (!temporary.ok()) return temporary.status();    \
  declaration = std::move(*temporary)

#pragma once
// Spans of bytes, and reading and writing little-endian values in them with every bound checked.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cohaul {

static_assert(std::endian::native == std::endian::little,
              "Cohaul's wire and files are little-endian, as is its memory");

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

template <class T>
ConstBytes as_bytes(std::span<T> s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size_bytes()};
}
inline ConstBytes as_bytes(std::string_view s) { return {reinterpret_cast<const std::byte*>(s.data()), s.size()}; }

/// Appends values to a buffer it does not own. `clear()`ed buffers keep their memory, so a reused one does not allocate.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}
  template <class T>
    requires std::is_trivially_copyable_v<T>
  Writer& put(const T& v) {
    return raw({reinterpret_cast<const std::byte*>(&v), sizeof v});
  }
  Writer& raw(ConstBytes b) {
    out_.insert(out_.end(), b.begin(), b.end());
    return *this;
  }
  /// 32-bit length, then the bytes.
  Writer& text(std::string_view s) {
    put(static_cast<std::uint32_t>(s.size()));
    return raw(as_bytes(s));
  }

 private:
  std::vector<std::byte>& out_;
};

/// Reads what Writer wrote out of foreign bytes. After a read past the end `ok()` is false, and every value read is zero
/// or empty; so read all, then check once.
class Reader {
 public:
  explicit Reader(ConstBytes in) : in_(in) {}
  template <class T>
    requires std::is_trivially_copyable_v<T>
  T get() {
    T v{};
    ConstBytes b = raw(sizeof v);
    if (!b.empty()) std::memcpy(&v, b.data(), sizeof v);
    return v;
  }
  /// Returns a view of the next n bytes, valid as long as the input; empty and !ok() if there are fewer.
  ConstBytes raw(std::size_t n) {
    if (n > in_.size()) {
      ok_ = false;
      in_ = {};
      return {};
    }
    ConstBytes b = in_.first(n);
    in_ = in_.subspan(n);
    return b;
  }
  std::string text() {
    ConstBytes b = raw(get<std::uint32_t>());
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  bool ok() const { return ok_; }
  /// Returns whether all reads were good and nothing is left over.
  bool done() const { return ok_ && in_.empty(); }
  std::size_t left() const { return in_.size(); }

 private:
  ConstBytes in_;
  bool ok_ = true;
};

}  // namespace cohaul

#include "cohaul/base/last_operations.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "cohaul/base/check.h"

namespace cohaul {
namespace {

constexpr std::uint64_t kSlots = 256;

struct Slot {
  std::atomic<const char*> what{nullptr};
  std::atomic<std::int64_t> a{-1}, b{-1};
};
// The one process-wide ring: a crash handler must find it without being handed anything.
Slot slots[kSlots];
std::atomic<std::uint64_t> next{0};

char* put_number(char* p, std::int64_t v) {
  if (v < 0) return p;
  char digits[24];
  int n = 0;
  do digits[n++] = static_cast<char>('0' + v % 10), v /= 10;
  while (v > 0);
  *p++ = ' ';
  while (n > 0) *p++ = digits[--n];
  return p;
}

std::size_t format(const Slot& s, char* out, std::size_t size) {
  const char* what = s.what.load(std::memory_order_relaxed);
  if (what == nullptr) return 0;
  std::size_t n = std::min(std::strlen(what), size - 64);
  std::memcpy(out, what, n);
  char* p = put_number(out + n, s.a.load(std::memory_order_relaxed));
  p = put_number(p, s.b.load(std::memory_order_relaxed));
  return static_cast<std::size_t>(p - out);
}

}  // namespace

void note_operation(const char* what, std::int64_t a, std::int64_t b) {
  Slot& s = slots[next.fetch_add(1, std::memory_order_relaxed) % kSlots];
  s.what.store(what, std::memory_order_relaxed);
  s.a.store(a, std::memory_order_relaxed);
  s.b.store(b, std::memory_order_relaxed);
}

std::string last_operation() {
  std::uint64_t n = next.load(std::memory_order_relaxed);
  if (n == 0) return "start";
  char text[256];
  std::size_t length = format(slots[(n - 1) % kSlots], text, sizeof text);
  return length ? std::string(text, length) : "start";
}

void write_last_operations(int fd, int count) {
  std::uint64_t end = next.load(std::memory_order_relaxed);
  std::uint64_t n = std::min({end, kSlots, static_cast<std::uint64_t>(count)});
  for (std::uint64_t i = end - n; i < end; ++i) {
    char text[256];
    std::size_t length = format(slots[i % kSlots], text, sizeof text);
    text[length++] = '\n';
    if (::write(fd, text, length) < 0) return;
  }
}

void check_failed(const char* condition, const char* what, const char* file, int line) {
  auto put = [](const char* s) { (void)!::write(2, s, std::strlen(s)); };
  char number[24];
  *put_number(number, line) = '\0';
  put("cohaul: a check failed: ");
  put(what);
  put(" (");
  put(condition);
  put(") at ");
  put(file);
  put(":");
  put(number + 1);
  put("\nlast operations, newest last:\n");
  write_last_operations(2);
  std::abort();
}

}  // namespace cohaul

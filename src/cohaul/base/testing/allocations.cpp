#include "cohaul/base/testing/allocations.h"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local long count = 0;

void* take(std::size_t n, std::size_t alignment) {
  ++count;
  return std::aligned_alloc(alignment, (n + alignment - 1) / alignment * alignment);
}
void* take_or_throw(std::size_t n, std::size_t alignment) {
  if (void* p = take(n, alignment)) return p;
  throw std::bad_alloc();
}
constexpr std::size_t kUsual = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t n) { return take_or_throw(n, kUsual); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return take(n, kUsual); }
void* operator new(std::size_t n, std::align_val_t a) { return take_or_throw(n, static_cast<std::size_t>(a)); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return take(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

long cohaul::testing_tools::allocations() { return count; }

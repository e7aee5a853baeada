#pragma once
// COHAUL_CHECK(condition, "what"): an invariant of our own. A broken one writes the last operations of this process to
// stderr and aborts. Never put what a peer or a user sent into it: that is a Status.

namespace cohaul {
[[noreturn]] void check_failed(const char* condition, const char* what, const char* file, int line);
}

#define COHAUL_CHECK(condition, what)                                                                    \
  do {                                                                                                   \
    if (__builtin_expect(!(condition), 0)) ::cohaul::check_failed(#condition, what, __FILE__, __LINE__); \
  } while (0)

#pragma once
// The last operations of this process, newest last. A failing check, a heartbeat and an error message name them.
// A fixed ring of plain records; noting one costs a few stores, never allocates and never blocks. Any thread may note;
// a reader may see a record half-written by a thread that is noting at that moment, never foreign memory.

#include <cstdint>
#include <string>

namespace cohaul {

/// Notes "what" (a string literal; kept by address) with two numbers whose meaning `what` gives: ("push partition", 7, 300).
void note_operation(const char* what, std::int64_t a = -1, std::int64_t b = -1);

/// Returns the newest one as text, e.g. "push partition 7 300"; "start" if there was none.
std::string last_operation();

/// Writes the last `count` (at most 256) to a file descriptor, one a line, the oldest first. Async-signal-safe.
void write_last_operations(int fd, int count = 32);

}  // namespace cohaul

"""Plants a use of what a mutex guards without a lock, which thread_safety.py must find, and its twins, which it must accept."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
PROGRAM = """
#include "cohaul/base/mutex.h"
class Counter {
 public:
  void add() { BODY }
  int wait() {
    cohaul::MutexLock lock(mutex_);
    while (count_ == 0) changed_.wait(lock);
    return count_;
  }

 private:
  void increment() COHAUL_REQUIRES(mutex_) { ++count_; }
  cohaul::Mutex mutex_;
  cohaul::CondVar changed_;
  int count_ COHAUL_GUARDED_BY(mutex_) = 0;
};
"""


class ThreadSafety(unittest.TestCase):
    def checked(self, body):
        """The exit status and the output of the check of a program with this body."""
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "counter.cpp")
            source.write_text(PROGRAM.replace("BODY", body))
            command = f"g++ -I{TOOLS.parent / 'src'} -std=c++20 -O2 -Wall -c {source}"
            commands = pathlib.Path(folder, "compile_commands.json")
            commands.write_text(json.dumps([{"directory": folder, "file": str(source), "command": command}]))
            done = subprocess.run([sys.executable, TOOLS / "thread_safety.py", commands], capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr

    def test_a_member_without_its_lock(self):
        status, output = self.checked("++count_;")
        self.assertEqual(status, 1, output)
        self.assertIn("error: writing variable 'count_' requires holding mutex 'mutex_' exclusively", output)

    def test_a_function_without_the_lock_that_it_requires(self):
        status, output = self.checked("increment();")
        self.assertEqual(status, 1, output)
        self.assertIn("error: calling function 'increment' requires holding mutex 'mutex_' exclusively", output)

    def test_a_mutex_locked_twice(self):
        status, output = self.checked("const cohaul::MutexLock one(mutex_); const cohaul::MutexLock two(mutex_);")
        self.assertEqual(status, 1, output)
        self.assertIn("error: acquiring mutex 'mutex_' that is already held", output)

    def test_what_is_locked(self):
        status, output = self.checked("const cohaul::MutexLock lock(mutex_); ++count_; increment(); changed_.notify_all();")
        self.assertEqual(status, 0, output)
        self.assertIn("1 files, 0 with errors", output)


if __name__ == "__main__":
    unittest.main()

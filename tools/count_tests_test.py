"""Tests that a test counts as passed only if it ran to its end, with files as ctest writes them."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import count_tests

RUN = '<testcase name="a" status="run"/>'
FAILED = '<testcase name="b" status="fail"><failure message="Timeout"/></testcase>'
SKIPPED = '''<testcase name="c" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>
  <system-out>c_test.cpp:2: Skipped
needs four cores</system-out></testcase>'''
GONE = '<testcase name="d" status="notrun"><skipped message="Unable to find executable"/></testcase>'


class Counting(unittest.TestCase):
    def count(self, *cases):
        out, err = io.StringIO(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            path = pathlib.Path(folder) / "tests.xml"
            if cases:
                path.write_text(f"<testsuite>{''.join(cases)}</testsuite>")
            status = count_tests.main(path)
        return status, out.getvalue(), err.getvalue()

    def test_all_passed(self):
        self.assertEqual(self.count(RUN, RUN), (0, "2 passed, 0 failed\n", ""))

    def test_a_skipped_test_says_why(self):
        self.assertEqual(self.count(RUN, SKIPPED), (0, "1 passed, 0 failed, 1 skipped\n", "skipped: c: needs four cores\n"))

    def test_a_failed_one_and_one_without_its_program_fail(self):
        status, out, err = self.count(RUN, FAILED, GONE)
        self.assertEqual((status, out), (1, "1 passed, 2 failed\n"))
        self.assertIn("b: Timeout", err)
        self.assertIn("d: Unable to find executable", err)

    def test_failures_are_shown_with_their_output(self):
        shown = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(shown):
            path = pathlib.Path(folder) / "tests.xml"
            path.write_text(f"<testsuite>{RUN}{FAILED.replace('</testcase>', '<system-out>it says why</system-out></testcase>')}</testsuite>")
            self.assertEqual(count_tests.failures([path, path.with_name("none.xml")]), 0)
        self.assertEqual(shown.getvalue(), f"-- failed: b ({path}): Timeout\nit says why\n")

    def test_no_result_is_a_failure(self):
        self.assertEqual(self.count()[:2], (1, "0 passed, 1 failed\n"))


if __name__ == "__main__":
    unittest.main()

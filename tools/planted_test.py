"""Tests that the faults of planted.py still have their places in the source."""

import pathlib
import tempfile
import unittest

import planted


class Places(unittest.TestCase):
    def test_each_fault_has_its_place(self):
        self.assertEqual(planted.without_place(planted.FAULTS), [])

    def test_a_lost_place_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "a.cpp").write_text("one two two")
            faults = [planted.Fault(old, "", [("a.cpp", old, "")]) for old in ("one", "two", "three")] + [planted.Fault("gone", "", [("b.cpp", "one", "")])]
            lost = planted.without_place(faults, root)
        self.assertEqual(lost, ["two: a.cpp holds 2 times 'two'", "three: a.cpp holds 0 times 'three'", "gone: b.cpp holds 0 times 'one'"])

"""Tests where the installed worker (cmake/cohaul-worker.in) looks for LibTorch, with folders that only look like it."""

import pathlib
import subprocess
import tempfile
import unittest

TEMPLATE = pathlib.Path(__file__).parent.parent / "cmake/cohaul-worker.in"
NEEDED = "9.9.9"  # so that no LibTorch of this machine fits


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


class InstalledWorker(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()
        text = TEMPLATE.read_text()
        for name, value in {"LibTorch_VERSION": NEEDED, "LibTorch_PREFIX": f"{self.root}/built_with", "worker_from_bin": "../libexec/cohaul"}.items():
            text = text.replace(f"@{name}@", value)
        self.assertNotIn("@", text.replace("$@", ""))
        executable(self.root / "bin/cohaul-worker", text.removeprefix("#!/bin/sh\n"))
        executable(self.root / "libexec/cohaul/cohaul-worker", 'echo "$LD_LIBRARY_PATH $1"\n')
        executable(self.root / "programs/python3", "exit 1\n")
        (self.root / "home").mkdir()

    def libtorch(self, where, version=NEEDED):
        """Makes a folder that looks like a LibTorch, and returns its path."""
        folder = self.root / where
        (folder / "lib").mkdir(parents=True)
        (folder / "lib/libtorch_cpu.so").touch()
        (folder / "build-version").write_text(f"{version}+cpu\n")
        return folder

    def start(self, **variables):
        env = {"PATH": f"{self.root}/programs:/usr/bin:/bin", "HOME": f"{self.root}/home", **variables}
        return subprocess.run([self.root / "bin/cohaul-worker", "argument"], env=env, capture_output=True, text=True)

    def expect_found(self, folder, **variables):
        done = self.start(**variables)
        self.assertEqual((done.returncode, done.stdout), (0, f"{folder}/lib argument\n"), done.stderr)

    def expect_refused(self, *parts, **variables):
        done = self.start(**variables)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        for part in parts + (f"cohaul: no LibTorch {NEEDED} was found", f"pip install torch=={NEEDED}"):
            self.assertIn(part, done.stderr)

    def test_the_one_that_is_named_comes_first(self):
        self.libtorch("built_with")
        named = self.libtorch("named")
        self.expect_found(named, LibTorch_ROOT=str(named))
        self.expect_found(named, Torch_ROOT=str(named))

    def test_one_that_is_named_and_does_not_fit_is_refused(self):
        self.libtorch("built_with")
        old = self.libtorch("old", "2.0.1")
        self.expect_refused(f"in {old}, which LibTorch_ROOT names", f"{old} holds 2.0.1", LibTorch_ROOT=str(old))
        self.expect_refused(LibTorch_ROOT=f"{self.root}/nowhere")

    def test_then_the_one_it_was_built_with_then_pythons_then_that_of_the_home_folder(self):
        self.expect_refused()
        self.expect_found(self.libtorch("home/libtorch"))
        pythons = self.libtorch("site/torch")
        executable(self.root / "programs/python3", f'echo "{pythons}"\n')
        self.expect_found(pythons)
        self.expect_found(self.libtorch("built_with"))

    def test_one_of_another_version_is_passed_over_and_told_of(self):
        self.libtorch("built_with", "2.0.1")
        self.expect_refused(f"{self.root}/built_with holds 2.0.1")
        self.expect_found(self.libtorch("home/libtorch"))

    def test_libraries_are_looked_for_beside_the_real_folder(self):
        real = self.libtorch("real/torch")
        (self.root / "home/libtorch").symlink_to(real)
        self.expect_found(real)

"""Puts each violation of the house rules into a small tree, and checks that it is refused, and nothing else."""

import pathlib
import tempfile
import unittest

import tidy

CLEAN = {
    "cmake/public_headers.cmake": "# Public.\nset(COHAUL_CORE_HEADERS\n  core.h\n  base/status.h)\nset(COHAUL_TORCH_HEADERS\n  cohaul.h\n  train/trainer.h)\n",
    "src/cohaul/core.h": '#pragma once\n#include "cohaul/base/status.h"\n',
    "src/cohaul/cohaul.h": '#pragma once\n#include "cohaul/core.h"\n#include "cohaul/train/trainer.h"\n',
    "src/cohaul/train/trainer.h": '#pragma once\n#include "cohaul/base/status.h"\n',
    "src/cohaul/train/CMakeLists.txt": "cohaul_folder(train USES base)\n",
    "src/cohaul/base/CMakeLists.txt": "cohaul_folder(base LIBS Threads::Threads)\n",
    "src/cohaul/base/status.h": "#pragma once\nint status();\n",
    "src/cohaul/base/clock.cpp": "long now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }\n",
    "src/cohaul/collective/CMakeLists.txt": "cohaul_folder(collective USES base)\n",
    "src/cohaul/collective/group.h": '#pragma once\n#include "cohaul/base/status.h"\n',
    "src/cohaul/ps/CMakeLists.txt": "cohaul_folder(ps USES base)\n",
    "src/cohaul/ps/server.cpp": '#include "cohaul/base/status.h"\nvoid f() { status(); }\n',
    "src/cohaul/ps/server_test.cpp": "TEST(Server, waits) { std::this_thread::sleep_for(std::chrono::seconds(1)); }\n",
    "src/cohaul/cli/CMakeLists.txt": "add_library(cohaul_command STATIC run.cpp)\ntarget_link_libraries(cohaul_command PUBLIC cohaul_base)\n",
    "src/cohaul/cli/run.cpp": '#include "cohaul/base/status.h"\nvoid g() { std::cout << "getenv( is only text here"; }\n',
}
FOREIGN_HOST = "https://" + "pypi" + ".org/simple"


class Planted(unittest.TestCase):
    def found(self, rule, path, text, append=False):
        files = dict(CLEAN)
        files[path] = (files.get(path, "") if append else "") + text
        return list(rule(tidy.Tree(files)))

    def refused(self, rule, path, text, part, line=None, append=False):
        found = self.found(rule, path, text, append)
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0][0], path)
        self.assertIn(part, found[0][2])
        if line is not None:
            self.assertEqual(found[0][1], line)

    def accepted(self, rule, path, text, append=False):
        self.assertEqual(self.found(rule, path, text, append), [])

    def test_a_clean_tree_is_clean(self):
        for rule in tidy.RULES:
            self.assertEqual(list(rule(tidy.Tree(CLEAN))), [], rule.__name__)

    def test_folders(self):
        rule = tidy.folders_in_order
        self.refused(rule, "src/cohaul/cli/more.cpp", '\n#include "cohaul/ps/server.h"\n', "does not list", line=2)
        self.refused(rule, "src/cohaul/ps/more.cpp", '#include "cohaul/collective/group.h"\n', "not stand to its left")
        self.refused(rule, "src/cohaul/base/more_test.cpp", '#include "cohaul/ps/server.h"\n', "not stand to its left")
        self.refused(rule, "src/cohaul/ps/more.cpp", '#include "cohaul/misc/x.h"\n', "no folder of the house")
        self.refused(rule, "src/cohaul/ps/more.cpp", '#include "server.h"\n', "whole path")
        self.refused(rule, "src/cohaul/ps/more.cpp", '#include "cohaul/cohaul.h"\n', "for users")
        self.refused(rule, "src/cohaul/ps/CMakeLists.txt", "cohaul_folder(ps USES base update LIBS x)\n", "does not use it")
        self.refused(rule, "src/cohaul/ps/CMakeLists.txt", "cohaul_folder(ps USES base collective)\n", "not stand to its left")
        self.refused(rule, "src/cohaul/ps/CMakeLists.txt", "cohaul_folder(ps USES base\n  train)\n", "not stand to its left")
        self.refused(rule, "src/cohaul/misc/CMakeLists.txt", "cohaul_folder(misc)\n", "no folder of the house")
        self.refused(rule, "src/cohaul/cli/CMakeLists.txt", "target_link_libraries(x cohaul_ps)\n", "does not use it", append=True)
        self.accepted(rule, "src/cohaul/ps/more.cpp", '// #include "cohaul/train/trainer.h"\n')

    def test_libtorch(self):
        self.refused(tidy.libtorch_stays_right, "src/cohaul/ps/more.cpp", "#include <ATen/ATen.h>\n", "knows nothing of LibTorch")
        self.accepted(tidy.libtorch_stays_right, "src/cohaul/train/more.cpp", "#include <torch/nn.h>\n")

    def test_headers(self):
        rule = tidy.headers_stay_light
        self.refused(rule, "src/cohaul/ps/more.h", "int x();\n", "#pragma once")
        self.refused(rule, "src/cohaul/ps/more.h", "#pragma once\n#include <spdlog/spdlog.h>\n", "fmt", line=2)
        self.refused(rule, "src/cohaul/train/more.h", "#pragma once\n#include <torch/torch.h>\n", "24 s")

    def test_environment(self):
        self.refused(tidy.environment_in_job, "src/cohaul/ps/more.cpp", 'auto x = std::getenv("RANK");\n', "outside job")
        self.accepted(tidy.environment_in_job, "src/cohaul/job/environment.cpp", 'auto x = std::getenv("RANK");\n')

    def test_time(self):
        for line in ("auto t = std::chrono::steady_clock::now();", "clock_gettime(CLOCK_MONOTONIC, &t);", "auto t = time(nullptr);",
                     "std::this_thread::sleep_for(1ms);", "usleep(10);", "sleep(1);"):
            self.refused(tidy.time_is_handed_in, "src/cohaul/ps/more.cpp", f"void f() {{ {line} }}\n", "handed in")
        self.accepted(tidy.time_is_handed_in, "src/cohaul/ps/more.cpp", "void f() { before_sleep(); sleep_until(deadline); } // sleep(1)\n")

    def test_randomness(self):
        for line in ("std::random_device seed;", "std::mt19937 engine;", "int x = rand();", "srand(time(0));"):
            self.refused(tidy.randomness_is_handed_in, "src/cohaul/ps/more.cpp", f"{line}\n", "handed in")
        self.accepted(tidy.randomness_is_handed_in, "src/cohaul/ps/more.cpp", "auto x = at::rand({2, 2});\n")

    def test_mutexes(self):
        rule = tidy.mutexes_are_checked
        for line in ("std::mutex m;", "std::condition_variable changed;", "std::lock_guard lock(m);", "std::unique_lock<std::timed_mutex> lock(m);"):
            found = self.found(rule, "src/cohaul/ps/more_test.cpp", f"void f() {{ {line} }}\n")
            self.assertIn("COHAUL_GUARDED_BY", found[0][2])
        self.accepted(rule, "src/cohaul/base/mutex.h", "std::mutex m;\n")
        self.accepted(rule, "src/cohaul/ps/more.cpp", "Mutex m; const MutexLock lock(m); // std::mutex\n")

    def test_output(self):
        for line in ("std::cout << 1;", "std::cerr << 1;", 'printf("x");', 'std::fprintf(stderr, "x");', 'puts("x");'):
            self.refused(tidy.output_has_a_home, "src/cohaul/ps/more.cpp", f"void f() {{ {line} }}\n", "outside cli and observe")
        self.accepted(tidy.output_has_a_home, "src/cohaul/ps/more.cpp", "void f() { std::snprintf(text, 9, format); }\n")

    def test_preprocessor(self):
        for line in ("#ifdef USE_MPI", "#if defined(X)", "  # ifndef Y"):
            self.refused(tidy.preprocessor_chooses_nothing, "src/cohaul/ps/more.cpp", f"\n{line}\n#endif\n", "outside a backend", line=2)

    def test_lengths(self):
        rule = tidy.files_and_functions_fit
        self.refused(rule, "src/cohaul/ps/more.cpp", "int x;\n" * 601, "601 lines")
        self.accepted(rule, "src/cohaul/ps/more.cpp", "int x;\n" * 600)
        long_body = "  if (x) {\n    f();\n  }\n" * 27
        self.refused(rule, "src/cohaul/ps/more.cpp", f"namespace a {{\nint Server::run(int x) const {{\n{long_body}}}\n}}\n", "Server::run has 83 lines", line=2)
        self.refused(rule, "src/cohaul/ps/more.cpp", f"class A {{\n  A(int x)\n      : x_(x) {{\n{long_body}}}\n}};\n", "more than the 80")
        self.accepted(rule, "src/cohaul/ps/more.cpp", "#define ASSERT(x) \\\n  check(x)\nnamespace a {\n" + "int x;\n" * 100 + "}\n")
        self.accepted(rule, "src/cohaul/ps/more.cpp", "class A {\n" + "  void f() {\n    g();\n  }\n" * 100 + "};\n")

    def test_nothing_is_put_off(self):
        rule = tidy.nothing_is_put_off
        self.refused(rule, "src/cohaul/ps/more_test.cpp", "TEST(Server, DISABLED_waits) {}\n", "disabled")
        self.refused(rule, "src/cohaul/ps/more_test.cpp", "TEST(A, b) { GTEST_SKIP(); }\n", "no reason")
        self.refused(rule, "src/cohaul/ps/more.cpp", "// TODO: later\n", "neither whose nor what")
        self.refused(rule, "cmake/x.cmake", "# FIXME\n", "neither whose nor what")
        self.accepted(rule, "src/cohaul/ps/more.cpp", "// TODO(issue 7): replicas\n")
        self.accepted(rule, "src/cohaul/ps/more_test.cpp", 'TEST(A, b) { GTEST_SKIP() << "needs two cores"; }\n')

    def test_places(self):
        rule = tidy.nothing_of_this_machine
        self.refused(rule, "README.md", "see /" + "root/x\n", "one machine")
        self.refused(rule, "jobs/x.toml", 'path = "/' + 'home/ann/mnist"\n', "one machine")
        self.refused(rule, "tools/x.sh", f"pip install -i {FOREIGN_HOST} x\n", "registry's host")
        self.accepted(rule, "README.md", "lies in build/work/x and ~/root/x\n")

    def test_a_process_is_no_person(self):
        rule = tidy.a_process_is_no_person
        self.refused(rule, "src/cohaul/ps/more.cpp", "int x;\n// The caller frees\n// his buffers.\n", '"his"', line=3)
        self.refused(rule, "src/cohaul/ps/more.h", "int x();  ///< waits until he comes\n", '"he"', line=1)
        self.refused(rule, "src/cohaul/ps/more_test.cpp", "/* She\n * waits. */\n", '"She"', line=1)
        self.refused(rule, "src/cohaul/ps/more.h", "\n/// Whoever waits is woken.\nvoid wake();\n", "begins with", line=2)
        self.refused(rule, "src/cohaul/ps/more.h", "int x;  // Who is asked.\n// another\n", "begins with", line=1)
        self.refused(rule, "README.md", "# A\n\nOne.\n\n- Who waits\n  asks.\n", "begins with", line=5)
        self.refused(rule, "docs/wire.md", "| a | b |\n|---|---|\n| Whoever asks | x |\n", "begins with", line=3)
        self.refused(rule, "docs/wire.md", "One side\nwakes him.\n", '"him"', line=2)
        self.accepted(rule, "src/cohaul/ps/more.cpp", 'int he; f("he waits");  // He, Zhang, Ren, Sun; He et al.\n// It\n// Who is on it.\n')
        self.accepted(rule, "src/cohaul/ps/more.cpp", "// The one. Whose it is, and who waits; the header.\n")
        self.accepted(rule, "README.md", "Run `he`, says\nWho.\n\n    Who he is\n\n```cpp\n// Who he is\n```\n")
        self.accepted(rule, "CHANGELOG.md", "Who he is\n")

    def test_readme_shows_the_examples(self):
        rule = tidy.readme_shows_the_examples
        files = {"examples/own_loop.cpp": "int main() {}\n", "README.md": "Look:\n\n`examples/own_loop.cpp`:\n\n```cpp\nint main() {}\n```\n"}
        self.assertEqual(list(rule(tidy.Tree(files))), [])
        found = list(rule(tidy.Tree(files | {"examples/own_loop.cpp": "int main() { }\n"})))
        self.assertEqual([f[:2] for f in found], [("README.md", 6)])
        found = list(rule(tidy.Tree(files | {"README.md": "Nothing.\n"})))
        self.assertEqual([f[:2] for f in found], [("README.md", 1)])

    def test_public_headers(self):
        rule, lists = tidy.public_headers_are_those_of_the_faces, CLEAN["cmake/public_headers.cmake"]
        group = '#include "cohaul/collective/group.h"\n'
        self.refused(rule, "src/cohaul/core.h", group, "makes collective/group.h public", line=3, append=True)
        self.refused(rule, "src/cohaul/base/status.h", group, "which is not in COHAUL_CORE_HEADERS", line=3, append=True)
        self.refused(rule, "src/cohaul/train/trainer.h", group, "which is not in COHAUL_TORCH_HEADERS", line=3, append=True)
        listed = lists.replace("  base/status.h", "  base/status.h\n  collective/group.h")
        self.refused(rule, "cmake/public_headers.cmake", listed, "collective/group.h is in COHAUL_CORE_HEADERS", line=5)
        self.refused(rule, "cmake/public_headers.cmake", lists.replace("trainer.h", "gone.h\n  train/trainer.h"), "train/gone.h is in", line=7)
        self.accepted(rule, "src/cohaul/train/trainer.h", "// " + group, append=True)

    def test_headers_compile_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            files = {"src/cohaul/base/good.h": "#pragma once\n#include <string>\nstd::string good();\n",
                     "src/cohaul/base/bad.h": "#pragma once\nstd::string bad();\n",
                     "src/cohaul/base/late.h": "#pragma once\nstd::string late();\n",
                     "src/cohaul/base/late.cpp": '#include <string>\n#include "cohaul/base/late.h"\n',
                     "src/cohaul/base/built.h": "#pragma once\nstd::string built();\n",  # the build finds this one
                     "src/cohaul/base/built.cpp": '#include "cohaul/base/built.h"\n#include <string>\n'}
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            for _ in range(2):  # what failed is not remembered
                found = list(tidy.headers_alone(tidy.Tree(files, root)))
                self.assertEqual([path for path, _, _ in found], ["src/cohaul/base/bad.h", "src/cohaul/base/late.h"])
                self.assertIn("does not compile alone", found[0][2])


class Reading(unittest.TestCase):
    def test_comments_and_literals_are_not_code(self):
        text = 'a("x // y"); // b\n/* c\n */ d(\'"\'); e(R"(f)"); g(1\'000);\n'
        self.assertEqual(tidy.code(text).split(), ["a(", ");", "d(", ");", "e(", ");", "g(1'000);"])
        self.assertEqual(tidy.code(text).count("\n"), text.count("\n"))


if __name__ == "__main__":
    unittest.main()

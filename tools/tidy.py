"""Checks what a program can check of the house rules (docs/architecture.md). Each rule is one function; tidy_test.py plants each violation.

A rule takes the tree and yields what it finds: (path, line, what is wrong and what to do). Prints them as path:line: message.
"""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import sys

# A folder may use folders in earlier rows, and never one in its own row.
HOUSE = """
base
config
observe update codec cost
checkpoint
transport
job
collective ps
gradient sim
parallel data privacy
model
strategy
train
cli
"""
RANK = {folder: rank for rank, row in enumerate(HOUSE.split("\n")) for folder in row.split()}
TORCH_FROM = {"gradient", "parallel", "data", "privacy", "model", "strategy", "train", "cli"}  # the others know nothing of LibTorch
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80


@dataclasses.dataclass
class Tree:
    """The project's text files, by path from the root."""

    files: dict
    root: pathlib.Path = None

    def cpp(self, *folders):
        """Returns (path, text) of the C++ files below any of the folders."""
        return [(p, t) for p, t in self.files.items() if p.endswith((".h", ".cpp")) and p.startswith(folders or "")]


def read_tree(root):
    """Reads the files that git tracks or would track."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True)
    files = {}
    for path in listed.stdout.splitlines():
        try:
            files[path] = (root / path).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # data, or deleted and not yet committed
    return Tree(files, root)


# ---- reading C++ well enough

NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<raw>[^(\s]*)\(.*?\)(?P=raw)"|"(?:\\.|[^"\\\n])*"' r"|(?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])+'", re.DOTALL
)


def code(text):
    """Returns the text with comments and literals blanked. Lines stay where they are, and includes keep their names."""

    def blank(match):
        start = text.rfind("\n", 0, match.start()) + 1
        if match[0].startswith('"') and text[start : match.start()].lstrip().startswith("#include"):
            return match[0]
        return re.sub(r"[^\n]", " ", match[0])

    return NOT_CODE.sub(blank, text)


def lines_with(pattern, text):
    """Returns (line number, match) of each match."""
    return [(text.count("\n", 0, m.start()) + 1, m) for m in re.finditer(pattern, text, re.MULTILINE)]


def folder_of(path):
    parts = path.split("/")
    return parts[2] if parts[:2] == ["src", "cohaul"] and len(parts) > 3 else ""


def is_test(path):
    return path.startswith("tests/") or "_test." in path or "/testing" in path or "/test_" in path


def outside(tree, pattern, homes, message, home_names=(), tests_too=False, folders=("src/", "tests/", "examples/")):
    """Yields matches of a pattern in code, except in paths that begin with one of `homes` or end with one of `home_names`."""
    for path, text in tree.cpp(*folders):
        if path.startswith(homes) or path.endswith(home_names) or (is_test(path) and not tests_too):
            continue
        for line, match in lines_with(pattern, code(text)):
            yield path, line, f"{match[0].strip('( ')} {message}"


# ---- the rules

RULES = []


def rule(function):
    RULES.append(function)
    return function


def listings(tree):
    """Returns, by folder, the folders that its CMakeLists.txt lists, with their lines."""
    found = {}
    for path, text in tree.files.items():
        if path.endswith("CMakeLists.txt") and folder_of(path) and path.count("/") == 3:
            uses = found.setdefault(folder_of(path), {})
            text = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), text)
            for call_line, call in lines_with(r"\b(?:cohaul_folder|target_link_libraries)\(([^)]*)\)", text):
                named = re.search(r"\bUSES\b(.*?)(?=\b(?:LIBS|TEST_LIBS)\b|$)", call[1], re.DOTALL)
                words = (named[1].split() if named else []) + re.findall(r"\bcohaul_(\w+)", call[1])
                for word in words:
                    if word in RANK and word != folder_of(path):
                        uses.setdefault(word, call_line)
    return found


@rule
def folders_in_order(tree):
    """Checks that every included folder is listed, that every listed folder is used, and that both are to the left."""
    listed, used = listings(tree), {}
    for path, text in tree.cpp("src/cohaul/"):
        folder = folder_of(path)
        for line, match in lines_with(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', code(text)):
            parts = match[1].split("/")
            if parts[0] != "cohaul":
                yield path, line, f'includes "{match[1]}": write its whole path, "cohaul/{folder}/…"'
            elif folder and len(parts) == 2:
                yield path, line, f'includes "{match[1]}", which is for users: include the folder\'s own header'
            elif folder and parts[1] != folder:
                used.setdefault(folder, set()).add(parts[1])
                if parts[1] not in RANK:
                    yield path, line, f"includes {parts[1]}/, which is no folder of the house (HOUSE in tools/tidy.py)"
                elif RANK[parts[1]] >= RANK.get(folder, -1):
                    yield path, line, f"{folder} may not use {parts[1]}, which does not stand to its left"
                elif parts[1] not in listed.get(folder, {}):
                    yield path, line, f"{folder} uses {parts[1]}, which src/cohaul/{folder}/CMakeLists.txt does not list"
    for folder, uses in listed.items():
        path = f"src/cohaul/{folder}/CMakeLists.txt"
        if folder not in RANK:
            yield path, 1, f"{folder} is no folder of the house (HOUSE in tools/tidy.py)"
            continue
        for other, line in uses.items():
            if RANK[other] >= RANK[folder]:
                yield path, line, f"{folder} lists {other}, which does not stand to its left"
            elif other not in used.get(folder, set()):
                yield path, line, f"{folder} lists {other} and does not use it"


@rule
def libtorch_stays_right(tree):
    for path, text in tree.cpp("src/cohaul/"):
        if folder_of(path) and folder_of(path) not in TORCH_FROM:
            for line, match in lines_with(r"^[ \t]*#[ \t]*include[ \t]*<((?:torch|ATen|c10)/[^>]+)>", code(text)):
                yield path, line, f"<{match[1]}>: {folder_of(path)} knows nothing of LibTorch"


@rule
def headers_stay_light(tree):
    for path, text in tree.cpp("src/"):
        if path.endswith(".h"):
            if "#pragma once" not in text and not path.endswith("-inl.h"):
                yield path, 1, "has no #pragma once"
            for line, match in lines_with(r"^[ \t]*#[ \t]*include[ \t]*<((?:spdlog|fmt)/[^>]+)>", code(text)):
                yield path, line, f"<{match[1]}> in a header: LibTorch's wheel carries its own fmt, and the two must never meet in one file"
            for line, match in lines_with(r"^[ \t]*#[ \t]*include[ \t]*<(torch/torch\.h)>", code(text)):
                yield path, line, f"<{match[1]}> costs every file that includes this 24 s: include what is used, or move it to a source file"


@rule
def environment_in_job(tree):
    return outside(tree, r"\b(?:secure_)?getenv\s*\(", ("src/cohaul/job/",), "outside job: the environment is read once, there")


@rule
def time_is_handed_in(tree):
    homes = ("src/cohaul/base/clock.", "src/cohaul/transport/poller.cpp", "src/cohaul/transport/real_poller.h")
    reads = r"\b(?:steady|system|high_resolution)_clock::|\bclock_gettime\s*\(|\bgettimeofday\s*\(|\btime\s*\(\s*(?:nullptr|NULL|0)\s*\)"
    sleeps = r"\bsleep_(?:for|until)\s*\(\s*std::|\bthis_thread::sleep_\w+|\b(?:u|nano|clock_nano)?sleep\s*\("
    return outside(tree, f"{reads}|{sleeps}", homes, "outside base/clock and the transport's poller: time is handed in, only the poller waits")


@rule
def randomness_is_handed_in(tree):
    pattern = r"\bstd::(?:random_device|mt19937(?:_64)?|default_random_engine)\b|\bs?rand(?:om|48)?\s*\(\s*(?:\)|time)"
    return outside(tree, pattern, ("src/cohaul/base/random.",), "outside base/random: randomness is seeded and handed in")


@rule
def mutexes_are_checked(tree):
    pattern = r"\bstd::(?:(?:recursive_|shared_|timed_)*mutex|condition_variable(?:_any)?|lock_guard|(?:unique|scoped|shared)_lock)\b"
    message = "outside base/mutex.h: use Mutex, MutexLock and CondVar, and name the mutex that guards a member (COHAUL_GUARDED_BY)"
    return outside(tree, pattern, ("src/cohaul/base/mutex.h",), message, tests_too=True, folders=("src/",))


@rule
def output_has_a_home(tree):
    homes = ("src/cohaul/cli/", "src/cohaul/observe/", "examples/")
    pattern = r"\bstd::(?:cout|cerr|clog|print(?:ln)?)\b|\b(?:std::)?(?:v?f?printf|puts|fputs|putchar|perror)\s*\("
    return outside(tree, pattern, homes, "outside cli and observe: return it, or hand it to the record", ("/main.cpp",))


@rule
def preprocessor_chooses_nothing(tree):
    homes = ("src/cohaul/transport/poller.cpp", "src/cohaul/base/mutex.h")  # the processor's pause instruction; what clang checks
    toggled = tuple(p for p, t in tree.cpp("src/") if p.endswith("-inl.h") or "HWY_TARGET_INCLUDE" in t)  # compiled once for each instruction set
    pattern = r"^[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif)\b[^\n]*"
    return outside(tree, pattern, homes + toggled, "outside a backend: choose by a class behind an interface", folders=("src/",))


@rule
def files_and_functions_fit(tree):
    for path, text in tree.cpp():
        count = text.count("\n")
        if count > FILE_LINES_MAX:
            yield path, FILE_LINES_MAX, f"has {count} lines, more than {FILE_LINES_MAX}: cut it where it does two things"
        for first, last, name in functions(code(text)):
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield path, first, f"{name} has {last - first + 1} lines, more than the {FUNCTION_LINES_MAX} of a screen"


def functions(text):
    """Yields (first line, last line, name) of what looks like a function with a body: a brace after a parameter list."""
    header = re.compile(r"([\w:~]+(?:<[^;{}()]*>)?)\s*\([^;{}]*\)[^;{}()]*$")
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.MULTILINE)  # directives
    line, start, opened = 1, 0, []
    for at, char in enumerate(text):
        if char == "\n":
            line += 1
        elif char == "{":
            before = text[start:at]
            found = header.search(before)
            name = found[1] if found and found[1] not in {"if", "for", "while", "switch", "catch", "return"} else None
            opened.append((line - before.lstrip().count("\n"), name))
            start = at + 1
        elif char == "}":
            if opened:
                first, name = opened.pop()
                if name and not any(outer for _, outer in opened):
                    yield first, line, name
            start = at + 1
        elif char == ";":
            start = at + 1


@rule
def nothing_is_put_off(tree):
    for path, text in tree.files.items():
        if path.endswith((".h", ".cpp")):
            for line, _ in lines_with(r"\bDISABLED_\w+", code(text)):
                yield path, line, "a disabled test: mend it or remove it"
            for line, _ in lines_with(r"\bGTEST_SKIP\(\)(?!\s*<<)", code(text)):
                yield path, line, "GTEST_SKIP() says no reason: GTEST_SKIP() << …"
        if path.endswith((".h", ".cpp", ".txt", ".cmake", ".in")):
            for line, match in lines_with(r"\b(?:TODO|FIXME|XXX)\b(?!\([^)\n]+\): \S)", text):
                yield path, line, f"{match[0]} that says neither whose nor what: TODO(issue 12): …, or nothing"


@rule
def nothing_of_this_machine(tree):
    hosts = ["pypi" + r"\.org", "pythonhosted" + r"\.org", "download" + r"\.pytorch\.org", "deb" + r"\.debian\.org", r"artifactory\."]
    folders = ["/" + "work/", "/" + r"root/", "/" + r"home/\w+/", "/" + "opt/wheels", "/" + r"tmp/\w+/"]
    for path, text in tree.files.items():
        for line, match in lines_with("|".join(hosts + [rf"(?<![\w.$}}/~])(?:{'|'.join(folders)})"]), text):
            yield path, line, f"{match[0]} is a place on one machine, or a registry's host: leave it to the configuration"


PERSON = re.compile(r"\b(?:he|him|his|she|her|Him|His|She|Her)\b|\bHe\b(?!,| et al)")  # "He, Zhang, Ren, Sun" are authors
WHO_FIRST = re.compile(r"(?:Who|Whoever)\b")


def comments(text):
    """(first line, text) of each C++ comment; whole-line comments on neighbouring lines are one."""
    found, last = [], None
    for match in NOT_CODE.finditer(text):
        if not match[0].startswith(("//", "/*")):
            continue
        line = text.count("\n", 0, match.start()) + 1
        alone = not text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip()
        words = re.sub(r"^[ \t]*(?://[/<!]*|/?\*+/?)[ \t]?", "", match[0], flags=re.MULTILINE)
        if alone and found and last == line - 1:
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{words}")
        else:
            found.append((line, words))
        last = line + match[0].count("\n") if alone else None
    return found


def prose(text):
    """(first line, text) of each paragraph, list item, heading and table row of a Markdown text, without its code."""
    blank = lambda match: re.sub(r"[^\n]", "", match[0])
    text = re.sub(r"^```.*?^```[^\n]*$", blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?: {4}|\t)[^\n]*$", blank, text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]+`", "``", text)
    start = r"[ \t]*(?:[-*+>|] |\|-|\d+\. |#|$)"
    return [(line, match[0]) for line, match in lines_with(rf"^(?=.*\S)[^\n]*(?:\n(?!{start})[^\n]*)*", text)]


@rule
def a_process_is_no_person(tree):
    """In C++ comments, in README.md and in docs/."""
    for path, text in tree.files.items():
        if path.endswith((".h", ".cpp")):
            pieces = comments(text)
        elif path == "README.md" or re.fullmatch(r"docs/[^/]+\.md", path):
            pieces = prose(text)
        else:
            continue
        for line, piece in pieces:
            for match in PERSON.finditer(piece):
                yield path, line + piece.count("\n", 0, match.start()), f'"{match[0]}" in a comment or document: a process is "it"'
            first = WHO_FIRST.match(re.sub(r"^(?:[-*+>|#\s]|\d+\.)+", "", piece))
            if first:
                yield path, line, f'begins with "{first[0]}": name what it is ("The process that …", "A caller that …")'


@rule
def readme_shows_the_examples(tree):
    readme = tree.files.get("README.md", "")
    shown = re.findall(r"^`(examples/\w+\.cpp)`:\n\n```cpp\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    for path, text in shown:
        if tree.files.get(path) != text:
            yield "README.md", readme[: readme.index(text)].count("\n") + 1, f"this is not the text of {path}"
    for path in ("examples/quickstart.cpp", "examples/own_loop.cpp", "examples/sums.cpp"):
        if path in tree.files and path not in dict(shown):
            yield "README.md", 1, f"does not show {path} (a line with its name in backquotes, then the text)"


PUBLIC = "cmake/public_headers.cmake"
FACES = {  # the headers that programs include, by the list of what they need
    "COHAUL_CORE_HEADERS": ["core.h"],
    "COHAUL_TORCH_HEADERS": ["cohaul.h", "parallel/factory.h", "parallel/linear.h", "parallel/sync_batch_norm.h"],
}


@rule
def public_headers_are_those_of_the_faces(tree):
    """Checks that the headers that are installed are those that the faces include, directly or not."""
    lists, seen = tree.files.get(PUBLIC, ""), set()
    for name, faces in FACES.items():
        found = re.search(rf"^set\({name}\n([^)]*)\)", lists, re.MULTILINE)
        listed, needed = found[1].split() if found else [], {}
        first = lists.count("\n", 0, found.start(1)) + 1 if found else 1
        pending = [(face, PUBLIC, first) for face in faces]
        while pending:
            header, includer, line = pending.pop()
            path = f"src/cohaul/{header}"
            if path not in tree.files or header in seen or header in needed:
                continue
            needed[header] = (includer, line)
            pending += [(m[1], path, at) for at, m in lines_with(r'^[ \t]*#[ \t]*include[ \t]*"cohaul/([^"]+)"', code(tree.files[path]))]
        for header, (includer, line) in needed.items():
            if header not in listed:
                yield includer, line, f"makes {header} public, which is not in {name} ({PUBLIC}): do without it, or list it"
        for at, header in enumerate(listed):
            if header not in needed:
                yield PUBLIC, first + at, f"{header} is in {name}, but is no header that {', '.join(faces)} include{'s' if len(faces) == 1 else ''}"
        seen |= set(needed)


# ---- headers that compile alone

def headers_alone(tree):
    """Checks that every header compiles alone. The build proves it of a header that its own source file includes first. Other headers that compiled are
    remembered in build/tidy, by the content of all that they include."""
    memory = tree.root / "build" / "tidy"
    memory.mkdir(parents=True, exist_ok=True)
    torch = tree.root / ".deps/libtorch-site/torch/include"
    flags = ["-std=c++20", "-fsyntax-only", "-Wno-pragma-once-outside-header", "-x", "c++", "-I", "src"]
    flags += ["-isystem", str(torch), "-isystem", str(torch / "torch/csrc/api/include")]

    def closure(path, seen):
        if path in tree.files and path not in seen:
            seen.add(path)
            for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', tree.files[path], re.MULTILINE):
                closure("src/" + name, seen)
        return seen

    def check(path):
        content = "\0".join(tree.files[p] for p in sorted(closure(path, set()))) + " ".join(flags)
        known = memory / hashlib.sha256(content.encode()).hexdigest()[:24]
        if known.exists():
            return None
        done = subprocess.run(["g++", *flags, path], cwd=tree.root, capture_output=True, text=True)
        if done.returncode == 0:
            known.touch()
            return None
        error = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip())
        return path, 1, f"does not compile alone: {error}"

    def is_first_in_its_source(path):
        first = re.search(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', tree.files.get(path[:-2] + ".cpp", ""), re.MULTILINE)
        return first is not None and "src/" + first[1] == path

    headers = [p for p, _ in tree.cpp("src/") if p.endswith(".h") and not p.endswith("-inl.h") and not is_first_in_its_source(p)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(check, headers))


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    tree = read_tree(root)
    found = [finding for check in RULES for finding in check(tree)]
    found += [] if "--no-headers" in sys.argv else list(headers_alone(tree))
    for path, line, message in sorted(set(found)):
        print(f"{path}:{line}: {message}")
    print(f"tidy: {len(tree.files)} files, {len(RULES) + 1} rules, {len(found)} violations", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Checks with clang (-Wthread-safety) that what a mutex guards is used only while the mutex is locked: see src/cohaul/base/mutex.h.

usage: thread_safety.py COMPILE_COMMANDS. Checks the source files that include the header, or a header of their own folder that does.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

HEADER = "cohaul/base/mutex.h"
CHECK = ["clang++-16", "-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety"]


def included(path):
    """What a file includes in quotation marks, each beginning with cohaul/."""
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', path.read_text(), re.MULTILINE)


def is_concerned(path, source_root):
    """Whether a source file includes the header, or a header of its own folder that does."""
    names = included(path)
    own = [source_root / name for name in names if (source_root / name).parent == path.parent]
    return HEADER in names or any(HEADER in included(header) for header in own if header.exists())


def flags_of(command):
    """The folders, definitions and standard of a compiler's command line."""
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word in ("-I", "-isystem", "-D"):
            kept += [word, next(words)]
        elif word.startswith(("-I", "-D", "-isystem", "-std=")):
            kept.append(word)
    return kept


def check(entry):
    """The errors that clang finds in one source file, as text; empty: none."""
    done = subprocess.run([*CHECK, *flags_of(entry["command"]), entry["file"]], cwd=entry["directory"], capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def main(compile_commands):
    source_root = pathlib.Path(__file__).resolve().parent.parent / "src"
    entries = {entry["file"]: entry for entry in json.loads(pathlib.Path(compile_commands).read_text())}
    concerned = [entry for file, entry in sorted(entries.items()) if is_concerned(pathlib.Path(file), source_root)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [text for text in pool.map(check, concerned) if text]
    for text in found:
        print(text, end="")
    print(f"thread safety: {len(concerned)} files, {len(found)} with errors", file=sys.stderr)
    return 1 if found or not concerned else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

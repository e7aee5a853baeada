"""Counts the tests in ctest's JUnit file, names those that failed or were skipped, and ends with the line "N passed, N failed".
With --failures: prints the output of those that failed, of any number of files."""

import sys
import xml.etree.ElementTree as ElementTree


def verdict(case):
    """Returns "passed", "failed" or "skipped", and the reason. A test whose program does not exist has failed, whatever ctest calls it."""
    skipped = case.find("skipped")
    if case.get("status") == "run":
        return "passed", ""
    if case.get("status") == "disabled" or (skipped is not None and "SKIP" in (skipped.get("message") or "")):
        lines = (case.findtext("system-out") or "").splitlines()
        at = next((i for i, line in enumerate(lines) if ": Skipped" in line), None)
        return "skipped", lines[at + 1].strip() if at is not None and at + 1 < len(lines) else "no reason given"
    failure = case.find("failure")
    found = failure if failure is not None else skipped
    return "failed", (found.get("message") or "") if found is not None else "did not run"


def failures(paths):
    """Prints each failed test in ctest's files with the end of its output. A missing file is ignored."""
    for path in paths:
        try:
            cases = ElementTree.parse(path).getroot().findall("testcase")
        except (OSError, ElementTree.ParseError):
            continue
        for case in cases:
            outcome, why = verdict(case)
            if outcome == "failed":
                print(f"-- failed: {case.get('name')} ({path}): {why}")
                print("\n".join((case.findtext("system-out") or "").splitlines()[-60:]))
    return 0


def main(path):
    try:
        cases = ElementTree.parse(path).getroot().findall("testcase")
    except (OSError, ElementTree.ParseError):
        print("no test ran: the build failed (see above)", file=sys.stderr)
        cases, counts = [], {"passed": 0, "failed": 1, "skipped": 0}
    else:
        counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in cases:
        outcome, why = verdict(case)
        counts[outcome] += 1
        if outcome != "passed":
            print(f"{outcome}: {case.get('name')}: {why}", file=sys.stderr)
    print(f"{counts['passed']} passed, {counts['failed']} failed" + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(failures(sys.argv[2:]) if sys.argv[1] == "--failures" else main(sys.argv[1]))

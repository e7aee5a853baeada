#!/usr/bin/env python3
"""Adds reports of `./dev programs --json FILE` to one that is kept, and prints the table of docs/promise.md:

    tools/programs_report.py tests/programs/report.json build/release/programs.json
"""

import json
import os
import sys

SUMS = ("programs", "float64", "runs", "steps", "seconds", "refused", "failed", "idle")


def added(kept, report):
    """Returns the sum of both reports. Raises ValueError if they have different features."""
    if not kept:
        kept = {name: 0 for name in SUMS}
        kept |= {"largest_error": 0.0, "features": report["features"], "pairs": [[0] * len(row) for row in report["pairs"]]}
    if kept["features"] != report["features"]:
        raise ValueError("the reports are of different features: begin a new one")
    out = {name: kept[name] + report[name] for name in SUMS}
    out["largest_error"] = max(kept["largest_error"], report["largest_error"])
    out["features"] = kept["features"]
    out["pairs"] = [[a + b for a, b in zip(*rows)] for rows in zip(kept["pairs"], report["pairs"])]
    return out


def table(report):
    names, pairs, total = report["features"], report["pairs"], report["programs"]
    lines = ["| feature | programs | % | rarest with | % |", "|---|--:|--:|---|--:|"]
    for a, name in enumerate(names):
        rarest = min((b for b in range(len(names)) if b != a), key=lambda b: pairs[a][b])
        lines.append(
            f"| {name} | {pairs[a][a]:,} | {100 * pairs[a][a] / total:.1f} | {names[rarest]} | {100 * pairs[a][rarest] / total:.1f} |"
        )
    lines.append("")
    lines.append(
        f"{total:,} programs ({report['float64']:,} in float64), {report['runs']:,} runs, {report['steps']:,} steps; {report['refused']} refused, "
        f"{report['failed']} failed; {report['idle']} drawn that move too little or diverge, not counted; largest error in float64: "
        f"{report['largest_error']:.1e}"
    )
    return "\n".join(lines)


def main(kept_file, files):
    kept = {}
    if os.path.exists(kept_file):
        with open(kept_file) as file:
            kept = json.load(file)
    for name in files:
        with open(name) as file:
            kept = added(kept, json.load(file))
    with open(kept_file, "w") as file:
        json.dump(kept, file, separators=(",", ":"))
        file.write("\n")
    print(table(kept))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])

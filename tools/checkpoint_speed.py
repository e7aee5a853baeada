"""Measures what checkpoints cost: how long a step is held up, beside a copy of as much memory; how much slower training is with one every 50 steps;
and how much later the first step comes where a run goes on. Two workers train the mlp.

    python3 tools/checkpoint_speed.py [--rounds 7] [--json FILE]

What is compared runs in turn; figures are medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COHAUL = ROOT / "build/release/bin/cohaul"
STEPS, EVERY = 400, 50


def command(record, settings):
    words = [COHAUL, "train", ROOT / "jobs/mlp.toml", "--quiet", "--workers", "2", "--record", record]
    for setting in settings:
        words += ["--set", setting]
    return [str(w) for w in words]


def events(record, kind):
    lines = pathlib.Path(record).read_text().splitlines() if pathlib.Path(record).exists() else []
    return [e for e in map(json.loads, lines) if e.get("record") == kind]


def train(folder, settings):
    record = folder / "record.jsonl"
    record.unlink(missing_ok=True)
    subprocess.run(command(record, settings), check=True, capture_output=True)
    return record


def copy_seconds(size):
    """Of so many bytes, into memory that is new."""
    source = bytearray(size)
    best = []
    for _ in range(9):
        begun = time.perf_counter()
        copy = bytes(source)
        best.append(time.perf_counter() - begun)
        del copy
    return statistics.median(best)


def first_step_seconds(folder, settings):
    """From the command to the first step that it tells of."""
    record = folder / "first.jsonl"
    record.unlink(missing_ok=True)
    begun = time.perf_counter()
    running = subprocess.Popen(command(record, settings + ["train.log_every=1"]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not events(record, "step"):
        time.sleep(0.005)
        if running.poll() is not None and not events(record, "step"):
            raise SystemExit("the run ended before its first step")
    seconds = time.perf_counter() - begun
    running.kill()
    running.wait()
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    options = parser.parse_args()
    held, copies, slower, later = [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        size = [f"train.steps={STEPS}"]
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(dir=folder) as checkpoints:
                plain = events(train(folder, size), "result")[0]
                record = train(folder, size + [f"train.checkpoint={checkpoints}", f"train.checkpoint_every={EVERY}"])
                written = events(record, "checkpoint")
                slower.append(plain["samples_per_s"] / events(record, "result")[0]["samples_per_s"])
                held += [w["held_s"] for w in written[1:]]
                copies.append(copy_seconds(written[0]["bytes"] // 2))
                fresh = first_step_seconds(folder, size)
                goes_on = first_step_seconds(folder, [f"train.steps={2 * STEPS}", f"train.checkpoint={checkpoints}"])
                later.append(goes_on - fresh)
    figures = {
        "held_ms": 1e3 * statistics.median(held),
        "copy_ms": 1e3 * statistics.median(copies),
        "held_by_copy": statistics.median(held) / statistics.median(copies),
        "slower": statistics.median(slower),
        "first_step_later_s": statistics.median(later),
    }
    print(f"| a step is held up | {figures['held_ms']:.2f} ms, {figures['held_by_copy']:.2f} of a copy ({figures['copy_ms']:.2f} ms) |")
    print(f"| training with one every {EVERY} steps | {100 * (figures['slower'] - 1):.1f} % slower |")
    print(f"| first step of a run that goes on | {figures['first_step_later_s']:.2f} s later |")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

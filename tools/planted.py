"""Plants faults in a copy of the tree, one after another, and says how many random programs it takes to find each.

    python3 tools/planted.py [NAME...] [--count 1000] [--seed 1]
    python3 tools/planted.py --check    only looks whether each fault still has its place in the source

A fault is a replacement in one or more source files. Those named kind_… undo the repair of a fault that users' programs had found.
The copy is built in build/planted; the working tree is not touched.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "planted"
TRAIN, GRADIENT, UPDATE, PS, COLLECTIVE = ("src/cohaul/" + f for f in ("train", "gradient", "update", "ps", "collective"))


@dataclasses.dataclass
class Fault:
    name: str
    what: str
    edits: list  # (path, old, new)


FAULTS = [
    Fault("kind_gradient_left", "a gradient left in .grad enters the next update", [
        (f"{GRADIENT}/reducer.cpp", "  s.clear_gradients();\n  std::fill(s.taken", "  std::fill(s.taken")]),
    Fault("kind_backward_inside", "a layer recomputed twice inside backward counts once", [
        (f"{GRADIENT}/reducer.cpp", "s.eager = !graph.has_own_functions;", "s.eager = true;"),
        (f"{GRADIENT}/reducer.cpp", "    if (taken[at(p)]) {\n", "    if (taken[at(p)]) parameters[at(p)].mutable_grad() = at::Tensor();\n    if (taken[at(p)]) return;\n    if (false) {\n")]),
    Fault("kind_unfrozen", "what was frozen when the trainer was made is never trained", [
        (f"{TRAIN}/borrowed_model.cpp", "DType::float32 : DType::float64, true});", "DType::float32 : DType::float64, t.requires_grad()});")]),
    Fault("kind_left_loop", "a loop that was left goes on in the next one", [
        (f"{TRAIN}/trainer_impl.cpp", "if (loop_.running() && loop == loop_.number()) left_loop_ = loop;", "static_cast<void>(loop);")]),
    Fault("kind_model_afterwards", "the model keeps the trainer's memory when the trainer is gone", [
        (f"{TRAIN}/borrowed_model.cpp", "void BorrowedModel::give_back() {\n", "void BorrowedModel::give_back() {\n  flat_ = {};\n"),
        (f"{TRAIN}/borrowed_model.cpp", "new std::shared_ptr<const void>(memory)", "new std::shared_ptr<const void>()")]),
    Fault("kind_loaded", "loaded parameters are not noticed", [
        (f"{TRAIN}/borrowed_model.cpp", "      if (change.replaced.empty()) change.replaced = item.name;\n", "      continue;\n")]),
    Fault("kind_made_anew", "the end of an older trainer takes the hooks of the newer one away", [
        (f"{GRADIENT}/reducer.cpp", "    if (owns(p)) torch::autograd::impl::set_post_acc_grad_hooks", "    if (reducers_hook(parameter)) torch::autograd::impl::set_post_acc_grad_hooks")]),
    Fault("kind_uneven", "slices of unequal size weigh the same", [
        (f"{TRAIN}/sample_loop.cpp", "return static_cast<double>(data::slice_of(options_.batch, count, slice).size()) / static_cast<double>(options_.batch);",
         "return static_cast<void>(slice), 1.0 / count;")]),
    Fault("kind_modes", "evaluate() leaves all modules in training mode", [
        (f"{TRAIN}/model.cpp", "if (model.evaluation) {", "if (false) {")]),
    Fault("kind_tied", "a tied parameter is two", [
        (f"{TRAIN}/borrowed_model.cpp", "if (!first) {  // the parameter is tied", "if (!first && false) {  // the parameter is tied")]),
    Fault("kind_updated_early", "single: a parameter is updated while backward still reads it", [
        (f"{UPDATE}/local_exchange.cpp", "    if (gradient.part + 1 == static_cast<std::int32_t>(parts_.size())) order_.push_back(gradient.bucket);\n",
         """    if (gradient.part + 1 < static_cast<std::int32_t>(parts_.size())) return {};
    order_.push_back(gradient.bucket);
    if (policy_.needs_facts() || gradient.samples > 0) return {};
    std::vector<std::int32_t> rest(order_.begin(), order_.end() - 1);
    order_.assign(1, gradient.bucket);
    each_partition([&](PartitionId id) {
      std::byte* place = parameters_.data() + layout_.partitions()[id.value].offset;
      owner_.apply(id, contributions_, step_, {}, place, place);
    });
    order_ = rest;
""")]),
    Fault("kind_average", "average() takes a parameter for absent where this worker's last part has no gradient of it", [
        (f"{GRADIENT}/reducer.cpp", "return state_->present[state_->at(p)] == 0;", "return state_->summed[state_->at(p)] == 0;")]),
    Fault("kind_bound", "no more than 4,096 absent parameters are noted", [
        (f"{UPDATE}/absent.h", "  mask[index / 8] |= std::byte{1}", "  if (index < 4096) mask[index / 8] |= std::byte{1}")]),
    Fault("kind_disagreement", "workers do not compare what they will do", [
        ("src/cohaul/base/facts.cpp", "  if (a == b) return {};\n", "  if (a == b || !a.empty()) return {};\n")]),
    Fault("tree", "neighbours are paired in another order", [
        (f"{UPDATE}/slices.h", "while (left * 2 < last - first) left *= 2;", "while (left * 4 < last - first) left *= 2;")]),
    Fault("slice_without_gradient", "a slice without a gradient is not counted, so that the next one takes its place in the tree", [
        (f"{GRADIENT}/reducer.cpp", "if (!taken[at(p)]) folds[at(p)].add(std::nullopt, combine);", "static_cast<void>(p);")]),
    Fault("skipped_step_counts", "Adam counts steps that are skipped", [
        (f"{UPDATE}/owner.cpp", "  if (plan.action != StepPlan::Action::apply) {\n", "  if (plan.action != StepPlan::Action::apply) {\n    for (std::int64_t& c : states_[id.value].counts) ++c;\n")]),
    Fault("strides", "a replaced parameter is taken as it lies, whatever its strides", [
        (f"{TRAIN}/borrowed_model.cpp", "    keep_strides(item);  // a loss", "    own_storage(item);  // a loss"),
        (f"{TRAIN}/borrowed_model.cpp", "    keep_strides(items_[i]);", "    own_storage(items_[i]);")]),
    Fault("norm_of_sum", "the norm is of the sum, not the mean, where slices have samples", [
        (f"{UPDATE}/step_plan.cpp", "std::sqrt(facts.squares.value()) * scale;", "std::sqrt(facts.squares.value());")]),
    Fault("server_absent", "servers forget which parameters a worker has no gradient of", [
        (f"{PS}/table.cpp", "  h.absent.assign(push.absent.begin(), push.absent.end());\n", "  if (h.frame.payload.empty()) h.absent.assign(push.absent.begin(), push.absent.end());\n  else h.absent.clear();\n")]),
    Fault("dampening", "the first step's momentum is dampened", [
        (f"{UPDATE}/sgd.cpp", "count == 1", "count == 0")]),
    Fault("buffers", "worker 0's buffers do not go to the others", [
        (f"{TRAIN}/borrowed_model.cpp", "    if (c.nbytes() > 0) std::memcpy(c.mutable_data_ptr(), flat.data() + layout_.offset(at), c.nbytes());\n    t.copy_(c);\n", "    static_cast<void>(t), static_cast<void>(flat);\n")]),
    Fault("seed_of_slice", "random numbers are seeded by a slice's place at its worker", [
        (f"{TRAIN}/sample_loop.cpp", "static_cast<std::uint64_t>(slice)));", "static_cast<std::uint64_t>(slice - work.slices.first)));")]),
    Fault("hooks_stay_open", "a trainer takes gradients that another one's backward makes", [
        (f"{GRADIENT}/reducer.cpp", "  s.open = false;\n  if (s.status.ok()) s.close_slice();", "  if (s.status.ok()) s.close_slice();")]),
    Fault("gradient_let_go", "a large gradient's memory is given back before it is summed", [
        (f"{GRADIENT}/reducer.cpp", "      held.push_back(std::move(sum));\n", "      sum = at::Tensor();\n")]),
]


def copy_tree():
    COPY.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in listed.stdout.splitlines():
        source, target = ROOT / path, COPY / path
        if not source.is_file() or (target.exists() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)  # as new, so that what depends on it is built again
    if not (COPY / ".deps").exists():
        (COPY / ".deps").symlink_to((ROOT / ".deps").resolve())


def build():
    if not (COPY / "build/release/build.ninja").exists():
        launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
        subprocess.run(["cmake", "--preset", "release", *launcher], cwd=COPY, check=True, capture_output=True)
    done = subprocess.run(["ninja", "-C", "build/release", "-j2", "--quiet", "programs_test"], cwd=COPY, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-2000:]


def search(count, seed):
    """Returns the number of the first program that fails, and its message."""
    command = ["bin/programs_test", "--count", str(count), "--seed", str(seed), "--shrink", "0"]
    done = subprocess.run(command, cwd=COPY / "build/release", capture_output=True, text=True, timeout=3600)
    found = re.search(r"^program (\d+): (.*)$", done.stdout, re.MULTILINE)
    return (int(found[1]), found[2]) if found else (None, done.stdout[-300:] + done.stderr[-300:])


def plant(fault, options):
    originals = {}
    for path, old, new in fault.edits:
        text = (COPY / path).read_text()
        originals.setdefault(path, text)
        if text.count(old) != 1:
            return f"cannot be planted: {path} holds {text.count(old)} times {old!r}"
        (COPY / path).write_text(text.replace(old, new))
    try:
        broken = build()
        if broken:
            return "does not compile: " + broken
        number, what = search(options.count, options.seed)
        return f"{number} | {what}" if number else f"not found in {options.count} | {what}"
    finally:
        for path, text in originals.items():
            (COPY / path).write_text(text)


def without_place(faults, root=ROOT):
    """Returns a line for each edit whose text does not stand exactly once in its file."""
    lost = []
    for fault in faults:
        for path, old, _ in fault.edits:
            count = (root / path).read_text().count(old) if (root / path).is_file() else 0
            if count != 1:
                lost.append(f"{fault.name}: {path} holds {count} times {old!r}")
    return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        sys.exit("\n".join(without_place(FAULTS)) or 0)
    unknown = set(options.names) - {f.name for f in FAULTS}
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    copy_tree()
    broken = build()
    if broken:
        sys.exit(broken)
    failed = False
    print("| fault | found by program | what it says |\n|---|--:|---|")
    for fault in FAULTS:
        if options.names and fault.name not in options.names:
            continue
        begun = time.monotonic()
        result = plant(fault, options)
        failed |= not result[0].isdigit()
        print(f"| {fault.name}: {fault.what} | {result} |", flush=True)
        print(f"{fault.name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("CCACHE_BASEDIR", str(COPY))
    sys.exit(main())

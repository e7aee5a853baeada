"""Prints src/cohaul/update/test_schedule_figures.h: learning rates as torch.optim.lr_scheduler makes them.

    python3 tools/schedule_figures.py > src/cohaul/update/test_schedule_figures.h

Needs PyTorch for Python (2.15 made the figures that are kept). The rate is 1, so that a figure is a factor.
"""

import math
import random
import textwrap
import warnings

import torch
from torch.optim import lr_scheduler as s

warnings.filterwarnings("ignore")


def figures(make, warmup, updates):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    main = make(optimizer)
    if warmup:
        optimizer.param_groups[0]["lr"] = 1.0
        first = s.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        main = s.SequentialLR(optimizer, [first, make(optimizer)], milestones=[warmup])
    out = []
    for _ in range(updates):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(out) < updates:
            main.step()
    return out


CASES = [
    (".kind = Schedule::Kind::step, .every = 7, .gamma = 0.5", lambda o: s.StepLR(o, 7, 0.5), 60),
    (".kind = Schedule::Kind::multistep, .milestones = {5, 20, 21}, .gamma = 0.3", lambda o: s.MultiStepLR(o, [5, 20, 21], 0.3), 60),
    (".kind = Schedule::Kind::exponential, .gamma = 0.97", lambda o: s.ExponentialLR(o, 0.97), 60),
    # After T_max torch's rate rises again, while Cohaul's stays.
    (".kind = Schedule::Kind::cosine, .steps = 40, .min = 0.05", lambda o: s.CosineAnnealingLR(o, 40, 0.05), 41),
    (".kind = Schedule::Kind::restarts, .every = 9, .min = 0.01", lambda o: s.CosineAnnealingWarmRestarts(o, 9, 1, 0.01), 60),
    (".kind = Schedule::Kind::restarts, .every = 5, .stretch = 2", lambda o: s.CosineAnnealingWarmRestarts(o, 5, 2), 60),
    (".kind = Schedule::Kind::polynomial, .steps = 30, .power = 1.5", lambda o: s.PolynomialLR(o, 30, 1.5), 60),
    (".kind = Schedule::Kind::one_cycle, .steps = 50", lambda o: s.OneCycleLR(o, 1.0, 50), 50),
    (".kind = Schedule::Kind::one_cycle, .steps = 50, .pct_start = 0.45, .div_factor = 10, .final_div_factor = 100",
     lambda o: s.OneCycleLR(o, 1.0, 50, pct_start=0.45, div_factor=10, final_div_factor=100), 50),
    (".kind = Schedule::Kind::inverse_sqrt", lambda o: s.LambdaLR(o, lambda t: (1 / (1 + t)) ** 0.5), 60),
    (".kind = Schedule::Kind::constant, .warmup_steps = 8", lambda o: s.ConstantLR(o, 1.0), 60),
    (".kind = Schedule::Kind::cosine, .warmup_steps = 6, .steps = 40", lambda o: s.CosineAnnealingLR(o, 40), 47),
    (".kind = Schedule::Kind::step, .warmup_steps = 10, .every = 4", lambda o: s.StepLR(o, 4), 60),
    (".kind = Schedule::Kind::inverse_sqrt, .warmup_steps = 12", lambda o: s.LambdaLR(o, lambda t: (12 / (12 + t)) ** 0.5), 60),
]

# ReduceLROnPlateau: its settings, and the losses of the evaluations that it follows.
PLATEAUS = [
    (".patience = 2", dict(patience=2), 0.4, 60),
    (".factor = 0.5, .patience = 0", dict(factor=0.5, patience=0), 0.05, 30),
    (".factor = 0.7, .patience = 1, .threshold = 0.05, .cooldown = 3", dict(factor=0.7, patience=1, threshold=0.05, cooldown=3), 0.2, 60),
    (".min = 0.04, .factor = 0.5, .patience = 1, .threshold = 0", dict(min_lr=0.04, factor=0.5, patience=1, threshold=0), 0.5, 60),
    (".factor = 0.2, .patience = 3, .cooldown = 1", dict(factor=0.2, patience=3, cooldown=1), 1.0, 60),
]


def plateau(settings, noise, evaluations):
    """Returns losses, rounded so that all digits are printed, and the rate after each."""
    generator = random.Random(evaluations + len(settings))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = s.ReduceLROnPlateau(optimizer, **settings)
    losses, rates = [], []
    for k in range(evaluations):
        loss = round(2 / (1 + 0.3 * k) + noise * generator.random(), 4)
        schedule.step(math.nan if k == 7 else loss)
        losses.append(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return losses, rates


print("#pragma once")
print(f"// Learning rates of torch.optim.lr_scheduler {torch.__version__.split('+')[0]}, from the first update on, where the rate is 1.")
print("// Made by tools/schedule_figures.py.\n")
print("#include <vector>\n")
print('#include "cohaul/update/schedule.h"\n')
print("namespace cohaul::update {\n")
print("struct ScheduleFigures {\n  Schedule schedule;\n  std::vector<double> factors;\n};\n")
print("/// The loss of each evaluation, of which the eighth is not a number instead, and the rate after it.")
print("struct PlateauFigures {\n  Schedule schedule;\n  std::vector<double> losses, rates;\n};\n")
print("// clang-format off\ninline const std::vector<ScheduleFigures> kScheduleFigures = {")
for settings, make, compared in CASES:
    warmup = int(settings.split("warmup_steps = ")[1].split(",")[0].rstrip("}")) if "warmup_steps" in settings else 0
    # C++ wants designators in the order of the members.
    order = ["kind", "warmup_steps", "steps", "every", "milestones", "gamma", "min", "power", "stretch", "pct_start", "div_factor", "final_div_factor"]
    parts, depth, part = [], 0, ""
    for c in settings:
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += c
    parts.append(part.strip())
    parts.sort(key=lambda p: order.index(p[1:].split(" ")[0]))
    numbers = ", ".join(repr(float(v)) for v in figures(make, warmup, compared))
    print("    {{" + ", ".join(parts) + "},\n" + textwrap.indent("{" + textwrap.fill(numbers, 110) + "}},", " " * 5))
print("};\n\ninline const std::vector<PlateauFigures> kPlateauFigures = {")
for text, settings, noise, evaluations in PLATEAUS:
    rows = ["{" + textwrap.fill(", ".join(map(repr, row)), 110) + "}" for row in plateau(settings, noise, evaluations)]
    print("    {{.kind = Schedule::Kind::plateau, " + text + "},\n" + textwrap.indent(",\n".join(rows) + "},", " " * 5))
print("};\n// clang-format on\n\n}  // namespace cohaul::update")

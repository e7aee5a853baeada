"""Reads what Cohaul wrote with the packages that its users have, and says as JSON what they see.

    read_back.py SITE scalars FOLDER     TensorBoard: {tag: [[step, value], ...]}
    read_back.py SITE tensors FILE       safetensors: {name: [type, shape, sha256 of the values]}
    read_back.py SITE yaml FILE          PyYAML: [document, ...]
"""

import hashlib
import json
import sys

sys.path.insert(0, sys.argv[1])


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder).Reload()
    return {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def tensors(file):
    from safetensors.numpy import load_file

    return {name: [str(t.dtype), t.shape, hashlib.sha256(t.tobytes()).hexdigest()] for name, t in load_file(file).items()}


def documents(file):
    import yaml

    with open(file, newline="") as text:
        return list(yaml.safe_load_all(text))


print(json.dumps({"scalars": scalars, "tensors": tensors, "yaml": documents}[sys.argv[2]](sys.argv[3])))

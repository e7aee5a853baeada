"""All-reduces by Gloo between processes that torchrun started. Rank 0 prints {"us": [median of each size]}."""

import json
import statistics
import sys
import time

import torch
import torch.distributed as dist

torch.set_num_threads(1)
dist.init_process_group("gloo")
medians = []
for elements, rounds in ((int(a), int(b)) for a, b in (pair.split("x") for pair in sys.argv[1:])):
    data, times = torch.ones(elements), []
    for i in range(rounds + rounds // 4):
        data.fill_(dist.get_rank() + 1)
        dist.barrier()
        begin = time.perf_counter()
        dist.all_reduce(data)
        if i >= rounds // 4:
            times.append((time.perf_counter() - begin) * 1e6)
    assert data[0] == data[-1] == dist.get_world_size() * (dist.get_world_size() + 1) / 2
    medians.append(statistics.median(times))
if dist.get_rank() == 0:
    print(json.dumps({"us": medians}))
dist.barrier()  # so that no process leaves while another one still needs it
dist.destroy_process_group()

"""What the failing torchrun runs: rank 1 gives up, and rank 0 waits for it."""

import os
import time

import torch.distributed as dist

dist.init_process_group("gloo")
dist.barrier()
if dist.get_rank() == 1:
    with open(os.environ["BENCH_FAILED_AT"], "w") as file:
        file.write(str(time.time()))
    raise ValueError("this rank gives up")
dist.barrier()

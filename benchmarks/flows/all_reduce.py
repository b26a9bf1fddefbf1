"""What both torchruns run: join the group, one sum over all ranks, leave."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
ones = torch.ones(1)
dist.all_reduce(ones)
assert ones.item() == dist.get_world_size()
dist.destroy_process_group()

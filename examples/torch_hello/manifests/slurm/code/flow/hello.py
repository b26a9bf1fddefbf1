"""What every process of the gang knows of itself."""

import torch.distributed as dist

dist.init_process_group("gloo")
print(f"hello from rank {dist.get_rank()} of {dist.get_world_size()}")
dist.barrier()
dist.destroy_process_group()

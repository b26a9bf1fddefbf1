"""Pi, by the area under a quarter of the unit circle; every rank adds up its share of the slices."""

import argparse

import numpy as np
from mpi4py import MPI

parser = argparse.ArgumentParser()
parser.add_argument("--slices", type=int, required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()

world = MPI.COMM_WORLD
x = (np.arange(world.rank, args.slices, world.size) + 0.5) / args.slices
share = float(np.sqrt(1 - x**2).sum() * 4 / args.slices)
print(f"rank {world.rank} of {world.size} has {share:.6f}")
total = world.reduce(share, op=MPI.SUM, root=0)
if world.rank == 0:
    with open(args.out, "w") as file:
        file.write(repr(total))

"""Every task of a job step says hello to the first one, by host name, and it answers with who came."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

rank, size, port = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"]), int(sys.argv[1])
shown = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
hosts = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()

if rank == 0:
    with socket.create_server((hosts[0], port)) as server:
        peers = [server.accept()[0] for _ in range(size - 1)]
    names = sorted([socket.gethostname(), *(peer.recv(100).decode() for peer in peers)])
    for peer in peers:
        peer.sendall(" ".join(names).encode())
    print(rank, *names)
else:
    while True:
        try:
            connection = socket.create_connection((hosts[0], port), 5)
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    connection.sendall(socket.gethostname().encode())
    print(rank, connection.recv(1000).decode())

"""The torchrun of a gang of two, started by hand: ``python by_hand.py SCRIPT``."""

import socket
import subprocess
import sys


def main(script):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    nodes = [subprocess.Popen([*command, f"--node-rank={rank}", script]) for rank in range(2)]
    return max(node.wait() for node in nodes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

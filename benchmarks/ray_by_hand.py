"""The Ray cluster of a gang of two, started by hand on one machine, and a driver that waits for both nodes."""

import os
import signal
import socket
import subprocess
import sys
import tempfile

DRIVER = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.05)
"""


def main():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, client = one.getsockname()[1], other.getsockname()[1]
    address = f"127.0.0.1:{port}"
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--num-cpus=1"]
    start += ["--object-store-memory=200000000", "--dashboard-agent-listen-port=0"]
    head = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            subprocess.run([*start, *head, f"--ray-client-server-port={client}", f"--temp-dir={folder}/a"], check=True)
            subprocess.run(
                [*start, f"--address={address}", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}/b"], check=True
            )
            subprocess.run([sys.executable, "-c", DRIVER, address], check=True)
        finally:
            _kill_what_names(folder)


def _kill_what_names(folder):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if int(pid) != os.getpid() and folder.encode() in file.read():
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass


if __name__ == "__main__":
    sys.exit(main())

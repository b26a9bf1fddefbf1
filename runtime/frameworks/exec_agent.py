"""``exec_agent.py FOLDER HOST WORD...``: what a launcher starts in place of ssh, to run the words on the host.

It hands its standard input and outputs and the words to the control rank's process, over a socket in a folder that only
its owner may enter, and ends with the command's exit code. Whoever may connect there is the same user; no secret is
needed here, so none stands in a file, in the environment or on the command line. Run as a script: it imports nothing
of flowc, because a launcher starts one for each host.
"""

from __future__ import annotations

import json
import os
import socket
import sys

NAME = "agent.sock"
FAILED = 255
"""Exit code where the command could not be run, as ssh's."""


def main(folder: str, host: str, words: list[str]) -> int:
    """Have the words, joined by spaces, run by a shell on the host; its exit code."""
    # ssh's own options, for launchers that insist on giving some.
    while host.startswith("-") and words:
        if host in ("-p", "-l", "-o", "-i", "-F", "-b", "-c", "-e", "-m"):
            words = words[1:]
        if not words:
            break
        host, words = words[0], words[1:]
    if not words:
        print("flowc: the agent was given no command to run", file=sys.stderr)
        return FAILED
    order = json.dumps({"host": host.rpartition("@")[2], "command": " ".join(words)}).encode()
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            where = os.getcwd()
            os.chdir(folder)  # a socket's path may have 107 bytes
            sock.connect(NAME)
            os.chdir(where)
        except OSError as error:
            print(f"flowc: the gang that this agent belongs to is gone ({error.strerror or error})", file=sys.stderr)
            return FAILED
        try:
            socket.send_fds(sock, [len(order).to_bytes(4, "big")], [0, 1, 2])
            sock.sendall(order)
            answer = sock.recv(1)
        except OSError:
            answer = b""
    return answer[0] if answer else FAILED


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: exec_agent.py FOLDER HOST WORD...")
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))

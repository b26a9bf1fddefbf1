"""Whether the kernel has killed a process of this job because the job took more memory than it has."""

from __future__ import annotations

import os


def lacked_memory(cgroups: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> bool:
    """Whether it has, in the cgroup of this process, where the job's attempts are as well; False where nobody counts.

    The kernel counts such deaths in ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1)
    (https://docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    try:
        with open(cgroups, encoding="utf-8") as file:
            places = [line.rstrip("\n").split(":", 2) for line in file]
        for _, controllers, path in places:
            if not controllers:
                counts = f"{root}{path}/memory.events"
            elif "memory" in controllers.split(","):
                counts = f"{root}/memory{path}/memory.oom_control"
            else:
                continue
            if os.path.exists(counts):
                with open(counts, encoding="utf-8") as file:
                    return any(int(count) > 0 for name, count in map(str.split, file) if name == "oom_kill")
    except (OSError, ValueError):
        pass
    return False

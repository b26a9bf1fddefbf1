"""The configuration of the Slurm lab's cluster: slurm.conf, gres.conf, cgroup.conf."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# A GPU of Slurm's is a character device that exists. It is never opened, so any will do; one each.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console")


@dataclass(frozen=True)
class Settings:
    """What a test may choose.

    Attributes
    ----------
    nodes, cpus, gpus : int
        How many nodes, and what each says it has; at most 8 GPUs.
    memory : int
        MiB that each node says it has.
    kill_wait : int
        Seconds from SIGTERM to SIGKILL.
    slurmd_timeout : int
        Seconds without an answer after which a node counts as lost.
    min_job_age : int
        Seconds that the controller remembers a job after its end.
    max_array_size : int
        One more than the highest index of an array.
    extra : mapping
        More lines of slurm.conf, or others in place of those here.
    """

    nodes: int = 4
    cpus: int = 2
    gpus: int = 2
    memory: int = 16000
    kill_wait: int = 2
    slurmd_timeout: int = 10
    min_job_age: int = 300
    max_array_size: int = 1001
    extra: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where the daemons run and what they are called.

    Attributes
    ----------
    folder : Path
        All that the cluster writes.
    controller, address : str
        The host name that slurmctld finds itself under, and its address.
    addresses : sequence of str
        Of the nodes ``node0``, ``node1``, ...
    hostnames : sequence of str
        Of the nodes; all the same where they are daemons on one host.
    ports : sequence of int
        First that of slurmctld, then those of the nodes.
    uid : int
        Whose the daemons and the jobs are.
    """

    folder: Path
    controller: str
    address: str
    addresses: Sequence[str]
    hostnames: Sequence[str]
    ports: Sequence[int]
    uid: int


def write_configuration(settings: Settings, place: Place, changed: Mapping[str, str | int]) -> None:
    """Write the files to ``etc`` in the lab's folder."""
    folder = place.folder
    user = pwd.getpwuid(place.uid).pw_name
    values: dict[str, str | int] = {
        "ClusterName": "lab",
        "SlurmctldHost": f"{place.controller}({place.address})",
        "SlurmctldPort": place.ports[0],
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/run/munge.sock",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/run/slurmd-%n.pid",
        "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
        "SlurmdLogFile": f"{folder}/log/slurmd-%n.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "PlugStackConfig": f"{folder}/etc/plugstack.conf",
        "MailProg": "/bin/true",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",  # nodes say that they have more than the machine has
        "GresTypes": "gpu",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0",
        "PriorityType": "priority/basic",
        "ReturnToService": 2,
        "SlurmctldTimeout": 30,
        "SlurmdTimeout": settings.slurmd_timeout,
        "InactiveLimit": 0,
        "KillWait": settings.kill_wait,
        "MinJobAge": settings.min_job_age,
        "MaxArraySize": settings.max_array_size,
        "MaxJobCount": 20000,
        "JobRequeue": 1,
        "AccountingStorageType": "accounting_storage/none",
        "JobCompType": "jobcomp/none",
        "JobAcctGatherType": "jobacct_gather/none",
        **settings.extra,
        **changed,
    }
    lines = [f"{name}={value}" for name, value in values.items()]
    for index in range(settings.nodes):
        lines.append(
            f"NodeName=node{index} NodeHostname={place.hostnames[index]} NodeAddr={place.addresses[index]}"
            f" Port={place.ports[1 + index]} CPUs={settings.cpus} RealMemory={settings.memory}"
            f" Gres=gpu:{settings.gpus} Feature=node{index} State=UNKNOWN"
        )
    lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO")
    lines.append("PartitionName=other Nodes=ALL MaxTime=INFINITE State=UP OverSubscribe=NO")
    devices = [f"Name=gpu File=/dev/{device}" for device in _DEVICES[: settings.gpus]]
    # slurmd loads a cgroup plugin though nothing uses it, and ends where it cannot find out which; v1 does nothing.
    _write(folder / "etc/cgroup.conf", ["CgroupPlugin=cgroup/v1"])
    _write(folder / "etc/gres.conf", devices)
    _write(folder / "etc/plugstack.conf", [])
    _write(folder / "etc/slurm.conf", lines)


def _write(file: Path, lines: list[str]) -> None:
    # Commands may read it at any moment.
    fresh = file.with_name(file.name + ".new")
    fresh.write_text("\n".join(lines) + "\n")
    os.replace(fresh, file)

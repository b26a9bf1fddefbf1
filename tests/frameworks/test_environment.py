"""What is found of a rank's surroundings: interfaces, cores, devices, free ports."""

from __future__ import annotations

import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flowc.runtime.frameworks import environment
from flowc.runtime.frameworks.base import Site
from flowc.runtime.gang import Member


class OneHost:
    """A gang as far as its members go."""

    def __init__(self, rank: int, *members: Member) -> None:
        self.rank, self.members, self.size = rank, members, len(members)

    def allgather(self, value: Any) -> list[Any]:
        return [value] * self.size

    def broadcast(self, value: Any) -> Any:
        return value

    def barrier(self) -> None:
        pass


HERE = [Member(rank, "here", "127.0.0.1") for rank in range(2)]


def test_the_interface_of_an_address() -> None:
    assert environment.interface_of("127.0.0.1") == "lo"
    assert environment.interface_of("127.0.1.1") == "lo"
    assert environment.interface_of("192.0.2.1") is None  # of documentation (RFC 5737), nobody's
    assert environment.route_to("127.0.0.1") == "lo"
    assert environment.route_to("no address") is None


def test_only_an_address_of_ipv6_is_written_in_brackets() -> None:
    assert [environment.bracketed(each) for each in ("10.0.0.1", "::1")] == ["10.0.0.1", "[::1]"]


def test_every_own_address_has_its_interface() -> None:
    names = {name for _, name in socket.if_nameindex()}
    found = list(environment._addresses())
    assert ("lo", "127.0.0.1") in found
    assert {name for name, _ in found} <= names


def test_the_defaults_leave_alone_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    unset = ["GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
    for name in [*unset, "FLOWC_PREEMPT_GRACE"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TP_SOCKET_IFNAME", "mine")
    monkeypatch.setattr(environment, "cores", lambda: 16)
    monkeypatch.setattr(environment, "devices", list)
    site = Site(OneHost(1, *HERE), {}, "/nowhere")  # type: ignore[arg-type]
    expected = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "4"}
    assert environment.defaults(site, processes=2) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in environment.defaults(site)


def test_torch_waits_for_its_workers_as_long_as_the_gang_may_save(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
    site = Site(OneHost(0, *HERE), {}, "/nowhere")  # type: ignore[arg-type]
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FLOWC_PREEMPT_GRACE", raising=False)
    assert name not in environment.defaults(site)
    monkeypatch.setenv("FLOWC_PREEMPT_GRACE", "90.5")
    assert environment.defaults(site)[name] == "91"
    monkeypatch.setenv(name, "7")
    assert name not in environment.defaults(site)


def test_a_rank_has_the_cores_of_its_host_to_itself_where_it_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(environment, "cores", lambda: 16)
    gang = OneHost(0, Member(0, "a", "127.0.0.1"), Member(1, "b", "127.0.0.2"))
    assert environment.defaults(Site(gang, {}, "/nowhere"))["OMP_NUM_THREADS"] == "16"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "found"),
    [("0,1", ["0", "1"]), ("", []), ("-1", []), ("2,-1,3", ["2"]), ("GPU-ab, MIG-cd", ["GPU-ab", "MIG-cd"]),
     ("NoDevFiles", [])],
)  # fmt: skip
def test_the_devices_that_the_environment_allows(given: str, found: list[str]) -> None:
    assert environment.devices({"CUDA_VISIBLE_DEVICES": given}) == found


def test_the_devices_that_there_are(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert environment.devices({}, str(tmp_path)) == ["0", "1"]
    assert environment.devices({}, str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("seen", "asked", "count", "own"),
    [(4, 0, 2, "2,3"), (4, 1, 1, "2,3"), (5, 0, 2, "2,3"), (2, 8, 1, "1"), (1, 0, 1, None), (0, 1, 0, None)],
)
def test_ranks_of_one_host_share_its_devices_out(
    seen: int, asked: int, count: int, own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(seen))))
    site = Site(OneHost(1, *HERE), {}, "/nowhere", asked)  # type: ignore[arg-type]
    assert environment.device_count(site) == count
    assert environment.defaults(site).get("CUDA_VISIBLE_DEVICES") == own


def test_free_ports_are_free_and_held_until_all_have_theirs() -> None:
    with environment.free_ports("127.0.0.1", 3) as ports:
        assert len(set(ports)) == 3 and all(20000 <= port <= 32000 for port in ports)
        assert all("cannot be used" in str(environment.taken("127.0.0.1", port)) for port in ports)
    assert [environment.taken("127.0.0.1", port) for port in ports] == [None] * 3
    with pytest.raises(OSError), environment.free_ports("192.0.2.1"):
        pass


class Together(OneHost):
    """A rank of a gang whose ranks are threads."""

    said: dict[int, Any]
    met: threading.Barrier

    def allgather(self, value: Any) -> list[Any]:
        self.said[self.rank] = value
        self.met.wait(10)
        everything = [self.said[rank] for rank in range(self.size)]
        self.met.wait(10)
        return everything

    def broadcast(self, value: Any = None) -> Any:
        return self.allgather(value)[0]

    def barrier(self) -> None:
        self.met.wait(10)


def test_the_ranks_agree_on_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3
    gangs: list[Any] = [
        Together(rank, *(Member(each, "here", "127.0.0.1") for each in range(count))) for rank in range(count)
    ]
    shared: Any = {"said": {}, "met": threading.Barrier(count)}
    for gang in gangs:
        vars(gang).update(shared)
    # All ranks happen to look for a port at the same places.
    places, own = random.Random(os.getpid()).randbytes(4000), threading.local()

    def urandom(size: int) -> bytes:
        own.at = getattr(own, "at", 0) + size
        return places[own.at - size : own.at]

    monkeypatch.setattr(os, "urandom", urandom)
    with ThreadPoolExecutor(count) as ranks:
        lists = list(ranks.map(environment.agreed_ports, gangs))
        assert lists == [lists[0]] * count and len(set(lists[0])) == count, lists
        first, *others = ranks.map(environment.agreed_port, gangs)
    assert others == [first] * (count - 1) and environment.taken("127.0.0.1", first) is None


def test_the_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= environment.cores() <= len(os.sched_getaffinity(0))

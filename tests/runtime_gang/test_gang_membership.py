"""Who says where a rank stands: flowc's own variables, Slurm's, Batch's, JobSet's, and what does not fit together."""

from __future__ import annotations

import pytest
from flowc.runtime.gang import Membership, MembershipError, detect
from flowc.runtime.gang.members.hostlist import expand
from flowc.runtime.gang.membership import GangPlace, from_environment
from hypothesis import given
from hypothesis import strategies as st

LOCAL = {"FLOWC_GANG_SIZE": "4", "FLOWC_GANG_RANK": "2", "FLOWC_GANG_MAIN": "10.0.0.1"}
SLURM = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "n[1-4]"}
BATCH = {
    "AWS_BATCH_JOB_NODE_INDEX": "2",
    "AWS_BATCH_JOB_NUM_NODES": "4",
    "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
    "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "10.0.0.7",
    "AWS_BATCH_JOB_ATTEMPT": "1",
}
JOBSET = {
    "JOBSET_NAME": "train-x",
    "REPLICATED_JOB_NAME": "ranks",
    "JOB_COMPLETION_INDEX": "2",
    "JOBSET_RESTART_ATTEMPT": "0",
    "FLOWC_GANG_SIZE": "4",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"PATH": "/bin"}, None),
        (LOCAL, Membership(4, 2, "10.0.0.1")),
        ({**LOCAL, "FLOWC_GANG_PORT": "0"}, Membership(4, 2, "10.0.0.1")),
        ({**LOCAL, "FLOWC_GANG_PORT": "23456", "FLOWC_ATTEMPT": "3"}, Membership(4, 2, "10.0.0.1", 3, 23456)),
        (SLURM, Membership(4, 2, "n1", source="slurm")),
        ({**SLURM, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.9"}, Membership(4, 2, "n1", source="slurm", spare="10.0.0.9")),
        (
            {**SLURM, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.9", "FLOWC_GANG_MAIN": "n7"},
            Membership(4, 2, "n7", source="slurm"),
        ),
        ({**SLURM, "SLURM_RESTART_COUNT": "2"}, Membership(4, 2, "n1", 2, source="slurm", restarts=2)),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "n[3-4]"},
            Membership(3, 2, "n3", source="slurm"),
        ),
        ({"SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "n1"}, None),
        (BATCH, Membership(4, 2, "10.0.0.7", source="batch")),
        ({**BATCH, "AWS_BATCH_JOB_ATTEMPT": "3"}, Membership(4, 2, "10.0.0.7", 2, source="batch", restarts=2)),
        (JOBSET, Membership(4, 2, "train-x-ranks-0-0.train-x", source="jobset", group="train-x")),
        (
            {**JOBSET, "JOBSET_RESTART_ATTEMPT": "1", "FLOWC_ATTEMPT": "2"},
            Membership(4, 2, "train-x-ranks-0-0.train-x", 3, source="jobset", group="train-x", restarts=1),
        ),
        ({**JOBSET, "FLOWC_GANG_MAIN": "head"}, Membership(4, 2, "head", source="jobset", group="train-x")),
        # A local run inside a scheduler's job has gangs of its own.
        ({**SLURM, **BATCH, **LOCAL}, Membership(4, 2, "10.0.0.1")),
    ],
)
def test_it_is_read_from_the_surroundings(environ: dict[str, str], expected: Membership | None) -> None:
    assert detect(environ) == expected
    place = None if expected is None else expected.place
    assert from_environment(environ) == place


@pytest.mark.parametrize(("index", "main", "rank"), [(0, 0, 0), (3, 3, 0), (0, 3, 1), (2, 3, 3)])
def test_the_main_node_of_batch_is_rank_0_and_has_no_address(index: int, main: int, rank: int) -> None:
    environ = {**BATCH, "AWS_BATCH_JOB_NODE_INDEX": str(index), "AWS_BATCH_JOB_MAIN_NODE_INDEX": str(main)}
    if rank == 0:
        del environ["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"]
    found = detect(environ)
    assert found is not None and found.rank == rank and found.main == ("10.0.0.7" if rank else "")
    assert found.place == GangPlace(rank, 4, "10.0.0.7" if rank else "127.0.0.1")


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"FLOWC_GANG_SIZE": "4"}, ["FLOWC_GANG_SIZE", "FLOWC_GANG_RANK"]),
        ({"FLOWC_GANG_RANK": "4"}, ["FLOWC_GANG_SIZE", "FLOWC_GANG_RANK"]),
        ({**LOCAL, "FLOWC_GANG_RANK": "4"}, ["FLOWC_GANG_RANK=4", "FLOWC_GANG_SIZE=4"]),
        ({**LOCAL, "FLOWC_GANG_SIZE": "four"}, ["FLOWC_GANG_SIZE='four'"]),
        ({**LOCAL, "FLOWC_GANG_SIZE": "0", "FLOWC_GANG_RANK": "0"}, ["FLOWC_GANG_RANK=0", "FLOWC_GANG_SIZE=0"]),
        ({**LOCAL, "FLOWC_GANG_PORT": "70000"}, ["FLOWC_GANG_PORT=70000"]),
        ({**LOCAL, "FLOWC_ATTEMPT": "-1"}, ["FLOWC_ATTEMPT='-1'"]),
        ({**SLURM, "FLOWC_GANG_SIZE": "5"}, ["FLOWC_GANG_SIZE=5", "slurm", "4"]),
        ({**SLURM, "FLOWC_GANG_RANK": "1"}, ["FLOWC_GANG_RANK=1", "slurm", "2"]),
        ({**SLURM, "SLURM_PROCID": "4"}, ["SLURM_PROCID=4", "SLURM_NTASKS=4"]),
        ({**SLURM, "SLURM_JOB_NODELIST": ""}, ["SLURM_STEP_NODELIST"]),
        ({**SLURM, "SLURM_JOB_NODELIST": "n[1-"}, ["n[1-"]),
        ({**BATCH, "AWS_BATCH_JOB_NODE_INDEX": "4"}, ["AWS_BATCH_JOB_NODE_INDEX=4", "AWS_BATCH_JOB_NUM_NODES=4"]),
        ({k: v for k, v in BATCH.items() if "NUM" not in k}, ["AWS_BATCH_JOB_NUM_NODES"]),
        ({k: v for k, v in BATCH.items() if "IPV4" not in k}, ["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"]),
        ({k: v for k, v in JOBSET.items() if "INDEX" not in k}, ["JOB_COMPLETION_INDEX", "Indexed"]),
        ({k: v for k, v in JOBSET.items() if "SIZE" not in k}, ["jobset", "FLOWC_GANG_SIZE"]),
        ({k: v for k, v in JOBSET.items() if "REPLICATED" not in k}, ["REPLICATED_JOB_NAME", "FLOWC_GANG_MAIN"]),
        ({**JOBSET, "FLOWC_GANG_SIZE": "2"}, ["rank 2", "gang of 2"]),
    ],
)
def test_what_does_not_fit_together_is_an_error_that_names_it(environ: dict[str, str], names: list[str]) -> None:
    with pytest.raises(MembershipError) as caught:
        detect(environ)
    assert all(name in str(caught.value) for name in names), str(caught.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-4]", ["n1", "n2", "n3", "n4"]),
        ("n[1,3-4,7],login", ["n1", "n3", "n4", "n7", "login"]),
        ("n[01-03]", ["n01", "n02", "n03"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("r[0-1]n[1-2]-ib", ["r0n1-ib", "r0n2-ib", "r1n1-ib", "r1n2-ib"]),
        ("a,b[2],c-d.e", ["a", "b2", "c-d.e"]),
    ],
)
def test_host_lists_are_expanded_as_slurm_does(text: str, names: list[str]) -> None:
    assert list(expand(text)) == names


@pytest.mark.parametrize(
    "text", ["", ",", "a,", ",a", "n[", "n]", "n[1-]", "n[a]", "n[4-1]", "n[]", "n[1-2", "n[[1]]", "a b"]
)
def test_what_is_no_host_list_is_an_error(text: str) -> None:
    with pytest.raises(MembershipError, match="no list of hosts"):
        list(expand(text))


@given(st.text("n[]-,019 ", max_size=12))
def test_any_text_is_a_host_list_or_an_error(text: str) -> None:
    try:
        names = list(expand(text))
    except MembershipError:
        return
    assert names and all(name and not set(name) & set("[], ") for name in names)

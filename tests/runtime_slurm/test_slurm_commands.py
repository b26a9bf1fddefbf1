"""How flowc speaks to Slurm's programs, which are scripts here that answer as told."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from flowc.runtime import contract
from flowc.runtime.slurm.commands import (
    Answer,
    Cluster,
    Commands,
    ControllerAway,
    LiveJob,
    Room,
    SlurmError,
    SlurmMissing,
    clean_environment,
    own_job,
    restated,
)
from flowc.runtime.slurm.reasons import explanations


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program of a name on the PATH; each call appends its words to ``calls``."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")

    def make(name: str, body: str) -> None:
        file = bin_folder / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{body}\n')
        file.chmod(0o755)

    return make


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def go_on() -> None:
    """The job is still wanted."""


def test_a_submission_goes_through_as_a_list_of_words(program, tmp_path: Path) -> None:
    program("sbatch", "echo '17;cluster'")
    assert Commands(5).submit(["--job-name=a", "x y.sbatch"], {"PATH": os.environ["PATH"]}, "a", go_on) == "17"
    assert calls(tmp_path) == ["sbatch --parsable --job-name=a x y.sbatch"]


def test_a_refused_job_is_refused_once(program, tmp_path: Path) -> None:
    program("sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid partition name' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"refused the job a: Invalid partition name"):
        Commands(5).submit([], dict(os.environ), "a", go_on)
    assert len(calls(tmp_path)) == 1


def test_a_job_that_arrived_although_no_answer_came_is_not_submitted_again(program, tmp_path: Path) -> None:
    program("sbatch", "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv' >&2; exit 1")
    program("squeue", "echo 4_1; echo 4_2")
    assert Commands(30).submit([], dict(os.environ), "a", go_on) == "4"
    assert [line.split()[0] for line in calls(tmp_path)] == ["sbatch", "squeue"]
    assert "--name=a" in calls(tmp_path)[1]


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Transport endpoint is not connected",
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
        "sbatch: error: Batch job submission failed: Unable to create job record, try again",
        "sbatch: error: Batch job submission failed: Slurm backup controller in standby mode",
        'sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory '
        "(Did you start munged?)\nsbatch: error: Batch job submission failed: Protocol authentication error",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "scancel: error: Kill job error on job id 1: Unable to contact slurm controller (connect failure)",
        "Unexpected message received for job 1",
        "squeue: error: Error connecting slurm stream socket at 10.0.0.1:6817: Connection refused",
        "\nsbatch timed out",
    ],
)
def test_a_controller_that_cannot_be_asked_is_asked_again(said: str) -> None:
    assert Answer(1, "", said).away and not Answer(0, "", said).away


def test_what_a_site_says_to_a_job_that_it_refuses_is_not_taken_for_an_absent_controller(
    program, tmp_path: Path
) -> None:
    program(
        "sbatch",
        """echo 'sbatch: error: choose another --account and try again; licence server: connection refused' >&2
echo 'sbatch: error: Batch job submission failed: Unspecified error' >&2
exit 1""",
    )
    with pytest.raises(SlurmError, match="choose another --account and try again"):
        Commands(60).submit([], dict(os.environ), "a", go_on)
    assert len(calls(tmp_path)) == 1
    assert not Answer(1, "", "sbatch: error: cli_filter: communication timed out, try again").away


@pytest.mark.slow
def test_a_controller_that_stays_away_is_given_up(program) -> None:
    program("sbatch", "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ControllerAway, match="has not answered for 2 s"):
        Commands(2).submit([], dict(os.environ), "a", go_on)


FULL = """echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2
echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, size)' >&2
exit 1"""


def test_a_limit_on_how_many_jobs_are_there_is_waited_for(program, tmp_path: Path) -> None:
    program("sbatch", f"if [ $(grep -c sbatch {tmp_path}/calls) = 3 ]; then echo 12; exit 0; fi\n{FULL}")
    program("squeue", """case "$*" in *--name=*) ;; *) echo '4|None|'; echo '5_1|Dependency|(null)';; esac""")
    assert Commands(0.1).submit([], dict(os.environ), "a", go_on) == "12"
    assert [line.split()[0] for line in calls(tmp_path)] == ["sbatch", *["squeue", "squeue", "sbatch"] * 2]


@pytest.mark.parametrize(
    ("reason", "shared"),
    [
        ("QOSMaxSubmitJobPerUserLimit", False),
        ("AssocMaxSubmitJobLimit", False),
        ("AssocGrpSubmitJobsLimit", True),
        ("QOSGrpSubmitJobsLimit", True),
        ("MaxSubmitJobsPerAccount", True),
        ("QOSMaxSubmitJobPerAccountLimit", True),
    ],
)
def test_a_limit_on_jobs_may_count_those_of_others(reason: str, shared: bool) -> None:
    answer = Answer(1, "", FULL.replace("QOSMaxSubmitJobPerUserLimit", reason))
    assert answer.full and answer.full_for_many == shared and not answer.full_for_all


@pytest.mark.parametrize("hidden", [False, True])
def test_a_limit_for_a_whole_account_lets_more_in_when_jobs_of_others_have_ended(
    hidden: bool, program, tmp_path: Path
) -> None:
    full = FULL.replace("QOSMaxSubmitJobPerUserLimit", "AssocGrpSubmitJobsLimit")
    program("sbatch", f"if [ $(grep -c sbatch {tmp_path}/calls) = 3 ]; then echo 12; exit 0; fi\n{full}")
    seen = "" if hidden else "echo '4|None|of somebody else'"
    program("squeue", f"""case "$*" in *--name=*|*--user=*|*--states=*) ;; *) {seen};; esac""")
    program("scontrol", f"echo 'PrivateData             = {'accounts,jobs' if hidden else 'none'}'")
    assert Commands(0.1).submit([], dict(os.environ), "a", go_on) == "12"


def test_waiting_for_room_can_be_ended_and_says_what_it_waits_for(program) -> None:
    program("sbatch", FULL)
    program("squeue", """case "$*" in *--name=*) ;; *) echo '4|None|';; esac""")
    waits: list[tuple[float, str]] = []

    def pause(seconds: float, why: str) -> None:
        waits.append((seconds, why))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Commands(60).submit([], dict(os.environ), "a", go_on, Room(pause=pause))
    ((seconds, why),) = waits
    assert seconds == 20 and "a has to wait" in why and "QOSMaxSubmitJobPerUserLimit" in why


def test_a_job_that_another_one_submitted_meanwhile_is_not_submitted_again(program, tmp_path: Path) -> None:
    program("sbatch", FULL)
    program("squeue", """case "$*" in *--name=a*) echo 13;; *) echo '4|None|mine';; esac""")
    assert Commands(0.1).submit([], dict(os.environ), "a", go_on) == "13"
    assert [line.split()[0] for line in calls(tmp_path)] == ["sbatch", "squeue", "squeue"]


def test_a_job_that_the_limit_never_lets_in_is_refused(program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4")
    program("sbatch", FULL)
    program("scontrol", "")
    # Nothing but the job that submits, what waits for it or for a person, and what waits for room as it does.
    jobs = ["4|None|", "5|Dependency|", "6|JobHeldUser|", "7|None|flowc waits for room in the queue"]
    program("squeue", f"""case "$*" in *%i*) printf '%s\\n' {" ".join(map(shlex.quote, jobs))};; esac""")
    with pytest.raises(SlurmError, match="QOSMaxSubmitJobPerUserLimit"):
        Commands(0.1).submit([], dict(os.environ), "a", go_on)


def test_a_job_that_waits_for_room_says_so_for_as_long(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4")
    program("scontrol", "")
    program("sbatch", f"if [ $(grep -c sbatch {tmp_path}/calls) = 2 ]; then echo 12; exit 0; fi\n{FULL}")
    program("squeue", """case "$*" in *--jobs=4*) echo 'of the author';; *--name=*) ;; *) echo '9|None|';; esac""")
    begun: list[str] = []
    room = Room(lambda: begun.append("again"))
    assert Commands(0.1).submit([], dict(os.environ), "a", go_on, room) == "12"
    said = [line for line in calls(tmp_path) if line.startswith("scontrol")]
    assert said == [
        "scontrol update JobId=4 Comment=flowc waits for room in the queue",
        "scontrol update JobId=4 Comment=of the author",
    ]
    assert begun == ["again", "again"]


def test_a_controller_that_holds_as_many_jobs_as_it_can_is_waited_for(program, tmp_path: Path) -> None:
    full = "echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2; exit 1"
    program("sbatch", f"if [ $(grep -c sbatch {tmp_path}/calls) = 3 ]; then echo 12; exit 0; fi\n{full}")
    program("squeue", """case "$*" in *--name=*|*--user=*) ;; *--states=all*) echo '4|None|of somebody else';; esac""")
    program("scontrol", "")
    assert Commands(0.1).submit([], dict(os.environ), "a", go_on) == "12"


def test_what_sbatch_said_before_it_took_too_long_counts(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowc.runtime.slurm.commands._LONGEST_ANSWER", 0.5)
    full = "echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2; exec sleep 30"
    program("sbatch", f"if [ $(grep -c sbatch {tmp_path}/calls) = 2 ]; then echo 12; exit 0; fi\n{full}")
    program("squeue", """case "$*" in *--name=*) ;; *) echo '4|None|';; esac""")
    assert Commands(0.1).submit([], dict(os.environ), "a", go_on) == "12"


def test_a_limit_of_another_kind_is_not_waited_for(program) -> None:
    program("sbatch", "echo 'Batch job submission failed: Job violates accounting/QOS policy' >&2; exit 1")
    with pytest.raises(SlurmError, match="violates"):
        Commands(0.1).submit([], dict(os.environ), "a", go_on)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("launch failed requeued held", "scontrol release 7"),
        ("launch_failed_requeued_held", "scontrol release 7"),
        ("(JobHeldUser)", "scontrol release 7"),
        ("ReqNodeNotAvail, UnavailableNodes:n3", "down, drained or reserved"),
        ("QOSMaxSubmitJobPerUserLimit", "when other jobs have ended"),
        ("AssocGrpCpuLimit", "when other jobs have ended"),
        ("QOSMaxCpuPerJobLimit", "never starts"),
        ("AssocMaxWallDurationPerJobLimit", "never starts"),
    ],
)
def test_a_reason_that_wants_something_done_is_explained_once(reason: str, said: str) -> None:
    jobs = [LiveJob(id_, "PENDING", reason, "F.1-a.x") for id_ in ("7", "8")]
    (line,) = explanations([*jobs, LiveJob("9", "PENDING", "Dependency", "F.1-a.y")])
    assert line.startswith("7: ") and said in line


def test_no_slurm_on_this_machine_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmMissing, match="no scontrol on this machine's PATH"):
        Commands(1).cluster()


@pytest.mark.parametrize(
    ("config", "wanted", "size"),
    [
        ("MaxArraySize            = 1001\nSchedulerParameters     = (null)", "", 1001),
        ("MaxArraySize            = 1001\nSchedulerParameters     = defer,max_array_tasks=7,bf_interval=1", "", 7),
        ("MaxArraySize            = 5\nSchedulerParameters     = max_array_tasks=7", "", 5),
        ("MaxArraySize            = 1001", "3", 3),
        ("MaxArraySize            = 5", "300", 5),
    ],
)
def test_what_an_array_may_have_is_the_least_of_what_is_said(
    config: str, wanted: str, size: int, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contract.SLURM_MAX_ARRAY, wanted)
    program("scontrol", f"echo 'ClusterName             = lab'; echo '{config}'")
    assert Commands(1).cluster() == Cluster("lab", size)


@pytest.mark.parametrize("wanted", ["0", "-1", "many", "1.5"])
def test_a_size_of_arrays_that_is_none_is_refused(wanted: str, program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.SLURM_MAX_ARRAY, wanted)
    program("scontrol", "echo 'MaxArraySize = 5'")
    with pytest.raises(SlurmError, match=r"FLOWC_SLURM_MAX_ARRAY=.* is not a number of tasks above 0"):
        Commands(1).cluster()


def test_jobs_in_hidden_partitions_are_asked_for_too(program, tmp_path: Path) -> None:
    program("squeue", "")
    commands = Commands(1)
    commands.find("a")
    commands.live("me", "F.")
    commands.is_running("4")
    assert [line.split()[:2] for line in calls(tmp_path)] == [["squeue", "--all"]] * 3


def test_the_queue_is_read_by_prefix(program) -> None:
    program("squeue", "echo '5_[1-3]|PENDING|Dependency|F.1-a.x'; echo '6|RUNNING|None|F.12-b.x'")
    (found,) = Commands(1).live("me", "F.1-a.")
    assert found == ("5_[1-3]", "PENDING", "Dependency", "F.1-a.x")


def test_what_belongs_to_the_job_around_does_not_reach_another() -> None:
    kept = {"SLURM_CONF": "/etc/x", "SBATCH_ACCOUNT": "physics", "PATH": "/bin", "SLURMX": "no", "HOME": "/"}
    del kept["SLURMX"]
    gone = {
        "SLURM_NTASKS": "4",
        "SLURMD_NODENAME": "n1",
        "SBATCH_ARRAY_INX": "1-3",
        "SRUN_DEBUG": "3",
        "SLURM_JOB_ID": "9",
    }
    assert clean_environment({**kept, **gone}) == kept


def test_a_users_defaults_are_for_steps_that_do_not_say_otherwise(tmp_path: Path) -> None:
    script = tmp_path / "a.sbatch"
    lines = "#!/bin/bash\n\n# A step.\n#SBATCH --partition=gpu\n#SBATCH --no-requeue\n#SBATCH --qos=long\n"
    script.write_text(lines + "set -e\n#SBATCH --account=in-the-setup\n")
    given = {"SBATCH_PARTITION": "cpu", "SBATCH_ACCOUNT": "mine", "PARTITION": "x"}
    assert restated(given, str(script)) == ["--partition=gpu"]
    assert restated({}, str(script)) == [] == restated(given, str(tmp_path / "not-there"))


def test_the_own_job_is_named_as_slurm_names_it() -> None:
    assert own_job({}) is None
    assert own_job({"SLURM_JOB_ID": "9"}) == "9"
    assert own_job({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}) == "7_0"

from __future__ import annotations

from pathlib import Path

import pytest
from flows_for_cli import FANOUT, HELLO, flowc


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWC_DATASTORE", "FLOWC_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the flows, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.py").write_text(HELLO)
    (tmp_path / "fan.py").write_text(FANOUT)
    return tmp_path


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs, not to be changed: HelloFlow/1 done, FanFlow/1 failed, FanFlow/2 resumes it and is done."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "hello.py").write_text(HELLO)
    (folder / "fan.py").write_text(FANOUT)
    assert flowc(folder, "run", "hello.py", "--alpha", "3", "--tag", "nice")[0] == 0
    assert flowc(folder, "run", "fan.py", "--bad", "2", "--flaky", "0", "--max-workers", "1")[0] == 1
    (folder / "mended").touch()
    assert flowc(folder, "resume", "FanFlow/1")[0] == 0
    return folder


@pytest.fixture
def runs(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `ran` as the current one."""
    monkeypatch.chdir(ran)
    return ran

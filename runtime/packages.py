"""Packages that a task asks for and its image may lack: installed for the task alone, before the flow is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from . import contract
from .outline import ContractError

_LAST = 15


def install_packages() -> None:
    """Install what FLOWC_PACKAGES lists into a folder of its own, and put that on the path; nothing where it is unset.

    Processes that the task starts find it by PYTHONPATH. pip is asked as it is set up: its index, its proxies.

    Raises
    ------
    ContractError
        If the variable is no list of texts, or pip fails; with the last lines that it said.
    """
    text = os.environ.pop(contract.PACKAGES, "")
    if not text:
        return
    try:
        wanted = json.loads(text)
    except ValueError:
        wanted = None
    if not isinstance(wanted, list) or not all(isinstance(item, str) and item[:1] not in ("", "-") for item in wanted):
        raise ContractError(f"{contract.PACKAGES} is no JSON list of requirements: {text!r}")
    if not wanted:
        return
    install(wanted)


def install(wanted: Sequence[str]) -> None:
    """Install requirements for this process and those that it starts.

    Raises
    ------
    ContractError
        If pip fails; with the last lines that it said.
    """
    folder = tempfile.mkdtemp(prefix="flowc-packages-", dir=os.environ.get(contract.SCRATCH) or None)
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    done = subprocess.run(  # noqa: S603 - requirements of the flow, as arguments, never through a shell
        [*pip, "--target", folder, "--", *wanted], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-_LAST:])
        raise ContractError(
            f"{', '.join(wanted)} could not be installed; take an image that has them, or let the task reach a package "
            f"index:\n{said}"
        )
    sys.path.insert(0, folder)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}" if before else folder

"""A folder that a step may write to, where code is mounted read-only: a copy of the flow's own."""

from __future__ import annotations

import os
import shutil
import tempfile

from . import contract


def make_writable() -> None:
    """Where the current folder is the flow's, or lies in it, and cannot be written: go to the same place in a copy.

    The copy has the files as they are, without what Kubernetes keeps beside them (names that begin with two dots). It
    goes with the container.
    """
    here = os.getcwd()
    file = os.environ.get(contract.FLOW_FILE)
    if not file or os.access(here, os.W_OK):
        return
    # Kubernetes mounts links to the files; the current folder is told without them.
    flow = os.path.realpath(os.path.dirname(os.path.abspath(file)))
    here = os.path.realpath(here)
    if os.path.commonpath([flow, here]) != flow:
        return
    copy = os.path.join(_folder(os.environ.get(contract.SCRATCH) or tempfile.gettempdir()), "flow")
    shutil.copytree(flow, copy, ignore=shutil.ignore_patterns("..*", "__pycache__"))
    os.chdir(os.path.join(copy, os.path.relpath(here, flow)))


def _folder(parent: str) -> str:
    # mpirun starts its programs on all nodes in the folder that it is in itself, so all ranks' folders have one name.
    words = [os.environ.get(name, "") for name in (contract.RUN_ID, contract.ATTEMPT)]
    name = "-".join(["flowc-flow", *filter(None, words)])
    path = os.path.join(parent, "".join(each if each.isalnum() else "-" for each in name))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:  # the folder is another pod's, too
        return tempfile.mkdtemp(prefix="flowc-flow-", dir=parent)
    return path

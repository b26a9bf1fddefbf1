"""``make e2e-argo``, as far as the lab's API server goes, so that what is there for a real cluster is run, too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from argo_api import ArgoApi
from argo_cluster import Cluster
from hosts_lab import require_lab

HOUSE = Path(__file__).resolve().parents[2]


def make(tests: str, **more: str) -> subprocess.CompletedProcess[str]:
    """``make e2e-argo`` without setting the environment up again."""
    ours = ("MAKE", "MFLAGS", "FLOWC_", "PYTEST")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    env.pop("KUBECONFIG", None)
    words = ["make", "-o", ".venv/ready", "e2e-argo", f"E2E={tests}"]
    return subprocess.run(words, cwd=HOUSE, env={**env, **more}, capture_output=True, text=True, check=False)


def test_without_a_cluster_it_says_what_it_needs(tmp_path: Path) -> None:
    done = make("")
    assert done.returncode == 2 and "KUBECONFIG is not set" in done.stderr and "docs/e2e-argo.md" in done.stderr
    assert "FLOWC_E2E_DATASTORE" in done.stderr


def test_the_page_names_tests_that_there_are() -> None:
    words = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--collect-only", "tests/e2e_argo/on_a_cluster.py"]
    done = subprocess.run(words, cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ids = done.stdout.split()
    named = re.findall(r"`(test_\w+(?:\[[\w-]+\])?)`", (HOUSE / "docs" / "e2e-argo.md").read_text())
    assert len(named) > 8
    for name in named:
        assert any(each.endswith(f"::{name}") or f"::{name}[" in each for each in ids), name


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    require_lab()
    with Cluster(tmp_path / "cluster", compiled=tmp_path / "c", grace=5) as cluster, ArgoApi(cluster, tmp_path) as api:
        known = {"KUBECONFIG": str(api.kubeconfig), "FLOWC_E2E_NAMESPACE": "flows"}
        api.absent.add("jobset.x-k8s.io")
        done = make("", **known)
        assert done.returncode == 2 and "JobSet is not installed" in done.stderr
        assert "the claim flowc in namespace flows cannot be used: 404" in done.stderr
        api.absent.clear()
        cluster.place.claim("flowc")
        done = make("-q -rs -k 'arrive or ends_with or preempted_gang or kept_with_the_run or configs_given'", **known)
        assert done.returncode == 0 and "4 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
        assert "sends no file with a run" in done.stdout

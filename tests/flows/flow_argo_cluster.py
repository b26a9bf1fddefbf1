"""Runs of the tests' flows on a real cluster, by ``flowc deploy`` and ``flowc submit --wait``; see docs/e2e-argo.md."""

from __future__ import annotations

import base64
import io
import os
import tarfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flow_argo import resumed_here
from flow_target import Finished, RunView, Target, Values, ended, flowc, given, of_the_flow

_MOUNT = "/flowc/data"
"""Where pods see the claim of the datastore: `flowc.backends.argo.store.MOUNT`."""

_TAR = """
import base64, io, sys, tarfile
out = io.BytesIO()
with tarfile.open(fileobj=out, mode='w:gz') as tar:
    tar.add(sys.argv[1], arcname='.')
text = base64.b64encode(out.getvalue()).decode()
for at in range(0, len(text), 4096):
    print(text[at:at + 4096])
print('-- end --')
"""


@dataclass(frozen=True)
class Site:
    """The cluster, by environment variables.

    Attributes
    ----------
    claim : str
        A claim that many pods may write to: the datastore with ``pvc://``, and in any case where the tests' flows write
        down what they do.
    """

    datastore: str
    claim: str
    image: str
    context: str | None
    namespace: str
    with_: tuple[str, ...]
    timeout: float

    @classmethod
    def from_environment(cls) -> Site:
        """FLOWC_E2E_... as docs/e2e-argo.md describes them."""
        env = os.environ
        datastore = env.get("FLOWC_E2E_DATASTORE", "pvc://flowc")
        own = urlsplit(datastore).netloc if datastore.startswith("pvc://") else "flowc"
        return cls(
            datastore.rstrip("/"),
            env.get("FLOWC_E2E_CLAIM", own),
            env.get("FLOWC_E2E_IMAGE", "python:3.12"),
            env.get("FLOWC_E2E_CONTEXT") or None,
            env.get("FLOWC_E2E_NAMESPACE", "flowc-e2e"),
            tuple(env.get("FLOWC_E2E_WITH", "").split()),
            float(env.get("FLOWC_E2E_TIMEOUT", "900")),
        )

    @property
    def where(self) -> list[str]:
        """The options that pick it."""
        context = ["--context", self.context] if self.context else []
        return ["--target", "argo", "--namespace", self.namespace, *context]


class ArgoOnCluster(Target):
    """A cluster with Argo and JobSet. Each target has a folder of its own in the datastore.

    Parameters
    ----------
    kubeconfig : str
        Path of the kubeconfig.
    """

    name = "argo-on-cluster"
    shortest = 30
    late = 120.0
    tagged = False

    def __init__(self, folder: Path, site: Site, kubeconfig: str) -> None:
        super().__init__(folder)
        self.site, self.kubeconfig = site, kubeconfig
        self.own = f"e2e-{uuid.uuid4().hex[:10]}"
        self.count = 0

    @property
    def datastore(self) -> str:
        """The URL of this target's folder."""
        return f"{self.site.datastore}/{self.own}"

    @property
    def lab(self) -> str:
        """Where its flows write down what they do, as pods see it."""
        return f"{_MOUNT}/{self._inside}/lab" if self._on_claim else f"/flowc/lab/{self.own}"

    @property
    def _on_claim(self) -> bool:
        return self.site.datastore.startswith("pvc://")

    @property
    def _inside(self) -> str:
        """This target's folder within the claim."""
        above = urlsplit(self.site.datastore).path.strip("/") if self._on_claim else ""
        return f"{above}/{self.own}".strip("/")

    def values(self, flow_file: Path, params: Values | None) -> dict[str, Any]:
        values = super().values(flow_file, params)
        if "lab" in values and "lab" not in (params or {}):
            values["lab"] = self.lab
        return values

    def command(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run ``flowc`` with the cluster's kubeconfig."""
        known = {"KUBECONFIG": self.kubeconfig, **(env or {})}
        return ended(*flowc(*arguments), env=known, timeout=self.site.timeout, cwd=self.folder)

    def deploy(
        self,
        flow_file: Path,
        with_: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """``flowc deploy``."""
        specs = [*self.site.with_, *with_]
        if not self._on_claim:
            specs.append(f'kubernetes:persistent_volume_claims={{"{self.site.claim}":"/flowc/lab"}}')
        words = ["--image", self.site.image, "--datastore", self.datastore, *of_the_flow(options), *given({}, specs)]
        finished = self.command("deploy", str(flow_file), *self.site.where, *words, env=env)
        assert finished.returncode == 0, finished.said

    def run(
        self,
        flow_file: Path,
        params: Values | None = None,
        with_: Iterable[str] = (),
        expect: str = "done",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> RunView:
        values = self.values(flow_file, params)
        if "lab" in values:
            self._make_lab()
        self.deploy(flow_file, with_, env, options)
        specs = [*self.site.with_, *with_]
        words = ["submit", str(flow_file), *self.site.where, "--wait", "--run-id-file", str(self.folder / "run-id")]
        finished = self.command(*words, *of_the_flow(options), *given(values, specs), env=env)
        wanted = {"done": 0, "failed": 1}[expect]
        assert finished.returncode == wanted, f"exit code {finished.returncode}, not {wanted}\n{finished.said}"
        view = self.view((self.folder / "run-id").read_text().strip(), flow_file, values, finished)
        assert view.status["state"] == expect, finished.said
        left = self.jobsets(view.run_id)
        assert not left, f"JobSets run on after the end of the workflow: {left}"
        return view

    def view(self, run_id: str, flow_file: Path, values: Values, finished: Finished) -> RunView:
        """What a run has left, fetched from the datastore."""
        self.count += 1
        root = self.folder / f"fetched-{self.count}"
        self.root = root
        if self._on_claim:
            self._fetch_claim(root)
        else:
            from flowc.runtime.datastore import open_datastore

            _copy(open_datastore(self.datastore), "", root)
            self._fetch_claim(root / "claim")
        flow = next(root.glob(f"*/{run_id}/run.json")).parent.parent.name
        lab = root / "lab" if self._on_claim else root / "claim"
        here = {**values, **({"lab": str(lab)} if "lab" in values else {})}
        return RunView(flow, run_id, root, finished, self, flow_file, here)

    def resume(self, run: RunView, expect: str = "done", options: Sequence[str] = ()) -> RunView:
        assert "lab" not in run.params, "its tasks would write where only pods can"
        return resumed_here(run, expect, options)

    def jobsets(self, run_id: str) -> list[str]:
        """The JobSets of a run that are there."""
        return [each["metadata"]["name"] for each in self._jobsets(run_id)]

    def jobsets_at_work(self, run_id: str) -> list[str]:
        """Those that have not ended."""
        there = self._jobsets(run_id)
        return [each["metadata"]["name"] for each in there if not each.get("status", {}).get("terminalState")]

    def terminate(self, run_id: str) -> None:
        """``argo terminate``."""
        from kubernetes import client, config

        api = client.CustomObjectsApi(config.new_client_from_config(self.kubeconfig, self.site.context))
        where = ("argoproj.io", "v1alpha1", self.site.namespace, "workflows", run_id)
        api.patch_namespaced_custom_object(
            *where, {"spec": {"shutdown": "Terminate"}}, _content_type="application/merge-patch+json"
        )

    def evict(self, run_id: str, rank: int) -> None:
        """Have the pod of a rank ended by the Eviction API, as ``kubectl drain`` does."""
        api = self._core()
        label = f"flowc/run={run_id},batch.kubernetes.io/job-completion-index={rank}"
        there = api.list_namespaced_pod(self.site.namespace, label_selector=label).items
        (pod,) = [each for each in there if each.status.phase == "Running"]
        name = {"name": pod.metadata.name, "namespace": self.site.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}
        api.create_namespaced_pod_eviction(**name, body=body)

    def _core(self) -> Any:
        from kubernetes import client, config

        return client.CoreV1Api(config.new_client_from_config(self.kubeconfig, self.site.context))

    def _jobsets(self, run_id: str) -> list[Any]:
        from flowc.backends.argo.cluster.connection import Cluster

        before, os.environ["KUBECONFIG"] = os.environ.get("KUBECONFIG"), self.kubeconfig
        try:
            cluster = Cluster(self.site.context, self.site.namespace)
        finally:
            os.environ.pop("KUBECONFIG")
            if before is not None:
                os.environ["KUBECONFIG"] = before
        there = cluster.listed("JobSet", f"flowc/run={run_id}")
        return [each for each in there if not each["metadata"].get("deletionTimestamp")]

    # The claim -------------------------------------------------------------------------------------------------------

    def _make_lab(self) -> None:
        self._python("import os, sys; os.makedirs(sys.argv[1], exist_ok=True)", f"/claim/{self._lab_on_claim}")

    @property
    def _lab_on_claim(self) -> str:
        return f"{self._inside}/lab" if self._on_claim else self.own

    def _fetch_claim(self, root: Path) -> None:
        """This target's folder of the claim, by a pod that prints it."""
        text = self._python(_TAR, f"/claim/{self._inside}")
        data = base64.b64decode("".join(text.splitlines()[:-1]))
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            tar.extractall(root)

    def _python(self, program: str, *arguments: str) -> str:
        """Run a program in a pod that has the claim at /claim; what it prints."""
        api = self._core()
        name = f"flowc-e2e-{uuid.uuid4().hex[:10]}"
        container = {
            "name": "main",
            "image": self.site.image,
            "command": ["python", "-c", program, *arguments],
            "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
        }
        volume = {"name": "claim", "persistentVolumeClaim": {"claimName": self.site.claim}}
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        api.create_namespaced_pod(self.site.namespace, pod)
        until = time.monotonic() + 300
        try:
            while (phase := api.read_namespaced_pod(name, self.site.namespace).status.phase) not in (
                "Succeeded",
                "Failed",
            ):
                assert time.monotonic() < until, f"pod {name} is still {phase}"
                time.sleep(0.2)
            text = api.read_namespaced_pod_log(name, self.site.namespace, container="main", _preload_content=False)
            said = str(text.data.decode())
            assert phase == "Succeeded", said
            return said
        finally:
            api.delete_namespaced_pod(name, self.site.namespace)


def _copy(store: Any, key: str, to: Path) -> None:
    """A part of a datastore as files of this machine."""
    for name in store.list(key):
        below = f"{key}/{name}".strip("/")
        if store.list(below):
            _copy(store, below, to / name)
        else:
            to.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes(store.read(below))

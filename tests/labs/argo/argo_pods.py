"""Pods: a command with the root, mounts, environment, name and processes that a pod of the manifest would have.

A pod's root is this machine's, with /tmp and /run of its own and the volumes at their places; it has mount, PID and UTS
namespaces of its own, and either this machine's network or that of a host of the hosts lab. Images are not looked at:
all have this machine's programs, with ``python`` being the interpreter that runs the tests.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argo_language import NotModelled, expand, known
from hosts_lab import Host

_SCRIPT = r"""
set -e
mount -t tmpfs -o mode=755 pod "$ROOT"
mkdir "$ROOT/run"
find / -maxdepth 1 -type l -exec cp -P -t "$ROOT" {} +
mount --all --fstab "$TABLE"
hostname "$NAME"
: > "$READY"
exec "$@"
"""
# How they are mounted, in a table, for one program mounts them all much sooner than one program each.
_MODES = {"rw": "rbind", "ro": "rbind,ro", "mem": "mode=1777"}
# Stands for argoexec, the first process of the containers that Argo starts: it hands SIGTERM on to the command.
_AS_ARGO = 'trap "kill -TERM \\$child" TERM; "$@" & child=$!; wait $child; code=$?; wait $child 2>/dev/null; exit $?'
_PATH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = Path(sys.prefix)
_CONTAINER = ("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "resources", "volumeMounts")
_SEEN = ("workingDir", "securityContext", "ports")


@dataclass
class Volumes:
    """The volumes of a pod, as folders of this machine by name, or ``None`` for memory."""

    folders: dict[str, Path | None] = field(default_factory=dict)
    read_only: set[str] = field(default_factory=set)


@dataclass
class HeldPod:
    """A pod that does not start."""

    metadata: Mapping[str, Any]
    container: Mapping[str, Any]
    reason: str
    message: str
    created: float = field(default_factory=time.time)


@dataclass
class Place:
    """Where the pods of one cluster keep what they leave, and what they find."""

    folder: Path
    maps: Mapping[str, Mapping[str, bytes]]
    secrets: Mapping[str, Mapping[str, str]]
    shared: Sequence[Path] = ()
    image: Mapping[str, Path] = field(default_factory=dict)
    """What the image has, by its path there."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The image's own, or what the platform gives every pod."""
    pods: list[Pod] = field(default_factory=list)
    account: Path | None = None
    """The files of the account of pods, where there is an API that takes its token."""
    held_images: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Images whose pods do not start: the reason and the message that Kubernetes gives."""
    held_pods: list[HeldPod] = field(default_factory=list)
    trouble_of_jobs: str = ""
    """What is wrong with the Jobs of JobSets: ``held`` where no pod of theirs can start, ``refused`` where the API
    server takes none."""
    laid_out: dict[str, tuple[Path, list[Any]]] = field(default_factory=dict)
    """Where ConfigMaps were laid out, with what they held; looking at all of it for each pod takes its time."""

    def claim(self, name: str) -> Path:
        """The folder of a PersistentVolumeClaim."""
        path = self.folder / "claims" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def volumes(self, volumes: Sequence[Any], pod: Path) -> Volumes:
        """Lay the volumes of a pod out."""
        out = Volumes()
        for volume in volumes:
            kind = next(name for name in volume if name != "name")
            known(volume, "volume", "name", kind)
            name, source = volume["name"], volume[kind]
            if kind == "persistentVolumeClaim":
                known(source, name, "claimName", "readOnly")
                out.folders[name] = self.claim(source["claimName"])
            elif kind == "projected":
                known(source, name, "sources", "defaultMode")
                items = [known(each, name, "configMap")["configMap"] for each in source["sources"]]
                out.folders[name] = self._laid_out(items)
                out.read_only.add(name)
            elif kind == "configMap":
                out.folders[name] = self._laid_out([source])
                out.read_only.add(name)
            elif kind == "emptyDir":
                known(source, name, "medium", "sizeLimit")
                if source.get("medium") == "Memory":
                    out.folders[name] = None
                else:
                    out.folders[name] = pod / "volumes" / name
                    (pod / "volumes" / name).mkdir(parents=True)
            else:
                raise NotModelled(f"volume {name}: the lab has no {kind}")
        return out

    def _laid_out(self, sources: Sequence[Any]) -> Path:
        """ConfigMaps as the kubelet mounts them: the files in a hidden folder, links to it beside (AtomicWriter)."""
        held = [self.maps[source["name"]] for source in sources]
        which = json.dumps([*sources, *map(id, held)])
        if which not in self.laid_out:
            self.laid_out[which] = (self._files_laid_out(sources), held)
        return self.laid_out[which][0]

    def _files_laid_out(self, sources: Sequence[Any]) -> Path:
        files: dict[str, bytes] = {}
        for source in sources:
            known(source, "configMap", "name", "items", "defaultMode")
            data = self.maps[source["name"]]
            for item in source.get("items") or [{"key": key, "path": key} for key in data]:
                known(item, "item", "key", "path", "mode")
                files[item["path"]] = data[item["key"]]
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
        folder = self.folder / "mounts" / digest
        if folder.exists():
            return folder
        building = folder.with_name(f"{digest}.{threading.get_ident()}")
        for path, content in files.items():
            file = building / "..2026_01_01" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            # The time tells the content, so that compiled modules may be kept from one run to the next.
            when = int(hashlib.sha256(content).hexdigest()[:7], 16)
            os.utime(file, (when, when))
        (building / "..data").symlink_to("..2026_01_01")
        for top in sorted({path.split("/")[0] for path in files}):
            (building / top).symlink_to(f"..data/{top}")
        try:
            building.rename(folder)
        except OSError:
            shutil.rmtree(building)
        return folder


class Pod:
    """One container that runs.

    Parameters
    ----------
    metadata : mapping
        name, labels and annotations, for the downward API.
    names : mapping
        What it resolves: address by name.
    host : Host, optional
        Whose network it is in.
    first : bool
        Whether the command is the container's first process; otherwise argoexec is.
    account : bool
        Whether it has the token of its account.
    """

    def __init__(
        self,
        place: Place,
        metadata: Mapping[str, Any],
        container: Mapping[str, Any],
        volumes: Sequence[Any],
        *,
        names: Mapping[str, str] | None = None,
        host: Host | None = None,
        first: bool = False,
        grace: float = 30.0,
        account: bool = False,
    ) -> None:
        self.name = str(metadata["name"])
        self.grace = grace
        self.disrupted = False
        """Whether it has the condition DisruptionTarget."""
        self.metadata, self.container, self.first, self.created = metadata, container, first, time.time()
        self.folder = place.folder / "pods" / self.name
        self.folder.mkdir(parents=True)
        for name in ("root", "tmp"):
            (self.folder / name).mkdir()
        (self.folder / "tmp").chmod(0o1777)
        known(container, self.name, *_CONTAINER, *_SEEN)
        laid = place.volumes(volumes, self.folder)
        self._mounts = self._places(container, laid)
        if account and place.account is not None:
            # /var/run is /run.
            self._mounts.append(("ro", place.account, "/run/secrets/kubernetes.io/serviceaccount"))
        env = environment(container, metadata, place)
        argv = [expand(word, env) for word in [*container["command"], *container.get("args", ())]]
        self._start(place, argv, env, container, names or {}, host, first)

    def _places(self, container: Mapping[str, Any], laid: Volumes) -> list[tuple[str, Path | None, str]]:
        out: list[tuple[str, Path | None, str]] = [("rw", self.folder / "tmp", "/tmp")]
        if _PYTHON.is_relative_to("/tmp"):  # a clone below /tmp
            out.append(("ro", _PYTHON, str(_PYTHON)))
        for mount in container.get("volumeMounts", ()):
            known(mount, self.name, "name", "mountPath", "readOnly", "subPath")
            if "subPath" in mount:
                raise NotModelled("subPath")
            folder = laid.folders[mount["name"]]
            read_only = mount.get("readOnly") or mount["name"] in laid.read_only
            out.append(("mem" if folder is None else "ro" if read_only else "rw", folder, mount["mountPath"]))
        return out

    def _start(
        self,
        place: Place,
        argv: list[str],
        env: Mapping[str, str],
        container: Mapping[str, Any],
        names: Mapping[str, str],
        host: Host | None,
        first: bool,
    ) -> None:
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in names.items())]
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")
        mounts = [*self._mounts, *(("rw", folder, str(folder)) for folder in place.shared)]
        mounts += [("ro", folder, path) for path, folder in place.image.items()]
        (self.folder / "table").write_text(_table(self.folder, mounts))
        setup = {
            "PATH": _PATH,
            "ROOT": str(self.folder / "root"),
            "NAME": self.name[:63],
            "READY": str(self.folder / "ready"),
            "TABLE": str(self.folder / "table"),
        }
        inside = ["chroot", str(self.folder / "root"), "env", "-C", container.get("workingDir") or "/"]
        pairs = [f"{name}={value}" for name, value in env.items()]
        command = argv if first else ["sh", "-c", _AS_ARGO, "argoexec", *argv]
        user = ["-r"] if os.geteuid() != 0 and host is None else []
        spaces = ["unshare", *user, "-m", "-u", "-p", "--fork", "--kill-child", "--"]
        whole = [*spaces, "sh", "-c", _SCRIPT, "sh", *inside, "-i", *pairs, *command]
        self._out = (self.folder / "log").open("wb")
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._out, "stderr": self._out}
        if host is not None:
            self.process = host.popen(whole, setup, **options)
        else:
            self.process = subprocess.Popen(whole, env=setup, **options)
        self.started = time.monotonic()
        place.pods.append(self)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, at its end."""
        code = self.process.wait(timeout)
        self._out.close()
        return 128 - code if code < 0 else code

    def terminate(self) -> None:
        """End it as the kubelet does: SIGTERM to its first process, and SIGKILL after the grace period."""
        # Until then the container is being made; what has not begun is not asked.
        while not (self.folder / "ready").exists() and self.process.poll() is None:
            time.sleep(0.01)
        first = _first_process(self.process.pid)
        if first is not None:
            with_suppressed(os.kill, first, signal.SIGTERM)
        try:
            self.process.wait(self.grace if first is not None else 0)
        except subprocess.TimeoutExpired:
            self.kill()

    def evict(self) -> None:
        """End it for the sake of its node or of another pod, as a drain, a preemption or a shutdown does."""
        self.disrupted = True
        self.terminate()

    def kill(self) -> None:
        """End it at once."""
        first = _first_process(self.process.pid)
        if first is not None:
            with_suppressed(os.kill, first, signal.SIGKILL)
        with_suppressed(self.process.kill)
        self.process.wait()

    def log(self) -> str:
        """What it printed."""
        return (self.folder / "log").read_text(errors="replace")

    def read(self, path: str) -> str | None:
        """A file as the pod left it; None where there is none."""
        best = max((m for m in self._mounts if path.startswith(f"{m[2]}/")), key=lambda m: len(m[2]), default=None)
        if best is None or best[1] is None:
            raise NotModelled(f"{path} is in no volume that outlives the pod in the lab")
        file = best[1] / path[len(best[2]) + 1 :]
        return file.read_text() if file.exists() else None


def _table(pod: Path, mounts: Sequence[tuple[str, Path | None, str]]) -> str:
    """What is mounted below a pod's root, in the format of fstab(5): this machine's folders, and the pod's own."""
    lines = []

    def add(source: str, target: str, kind: str, options: str) -> None:
        words = (source, f"{pod}/root{target}", kind, options)
        lines.append(" ".join(word.replace("\\", "\\134").replace(" ", "\\040") for word in words) + "\n")

    for folder in _of_this_machine():
        add(folder, folder, "none", "rbind,X-mount.mkdir")
    add("proc", "/proc", "proc", "X-mount.mkdir")
    add(str(pod / "hosts"), "/etc/hosts", "none", "bind")
    for mode, source, target in mounts:
        kind = "tmpfs" if mode == "mem" else "none"
        add(str(source or "memory"), target, kind, f"{_MODES[mode]},X-mount.mkdir")
    return "".join(lines)


@functools.cache
def _of_this_machine() -> list[str]:
    own = ("proc", "run", "tmp", "flowc")
    folders = [path for path in Path("/").iterdir() if path.is_dir() and not path.is_symlink() and path.name not in own]
    return sorted(map(str, folders))


def with_suppressed(function: Any, *arguments: Any) -> None:
    """Call, and pass over a process that is gone."""
    try:
        function(*arguments)
    except ProcessLookupError:
        pass


def environment(container: Mapping[str, Any], metadata: Mapping[str, Any], place: Place) -> dict[str, str]:
    """The environment of a container: the image's, Kubernetes' own, envFrom, env in this order."""
    out = {
        "PATH": _PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "HOSTNAME": str(metadata["name"])[:63],
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        # Of the image: nothing can be written beside the code.
        "PYTHONPYCACHEPREFIX": str(place.folder / "compiled"),
        **place.variables,
    }
    for source in container.get("envFrom", ()):
        known(source, "envFrom", "secretRef")
        out.update(place.secrets[source["secretRef"]["name"]])
    own: dict[str, str] = {}
    for variable in container.get("env", ()):
        known(variable, "env", "name", "value", "valueFrom")
        value = variable.get("value", "")
        if "valueFrom" in variable:
            value = _from(variable["valueFrom"], metadata, place)
        elif not isinstance(value, str):
            raise NotModelled(f"env {variable['name']}: {value!r} is no text")
        else:
            value = expand(value, {**out, **own})
        own[variable["name"]] = value
    return {**out, **own}


def _from(source: Mapping[str, Any], metadata: Mapping[str, Any], place: Place) -> str:
    if "secretKeyRef" in source:
        reference = known(source["secretKeyRef"], "secretKeyRef", "name", "key")
        return place.secrets[reference["name"]][reference["key"]]
    path = known(known(source, "valueFrom", "fieldRef")["fieldRef"], "fieldRef", "fieldPath", "apiVersion")["fieldPath"]
    if path in ("metadata.name", "metadata.namespace"):
        return str(metadata.get(path.partition(".")[2], "default"))
    for kind in ("labels", "annotations"):
        if path.startswith(f"metadata.{kind}['") and path.endswith("']"):
            return str(metadata.get(kind, {}).get(path.split("'")[1], ""))
    raise NotModelled(f"fieldRef {path}")


def content(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a ConfigMap by key."""
    known(document, "ConfigMap", "apiVersion", "kind", "metadata", "data", "binaryData", "immutable")
    out = {key: text.encode() for key, text in (document.get("data") or {}).items()}
    out.update({key: base64.b64decode(text) for key, text in (document.get("binaryData") or {}).items()})
    return out


def _first_process(pid: int) -> int | None:
    """The first process of the innermost PID namespace below a process; None while there is none."""
    found, depth, todo = None, 0, [pid]
    while todo:
        each = todo.pop()
        try:
            todo += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
            status = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if numbers[-1] == "1" and len(numbers) > max(depth, 1):
            found, depth = each, len(numbers)
    return found

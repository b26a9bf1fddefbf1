"""A Kubernetes API server in front of the lab's cluster, for the real ``kubernetes`` client.

It speaks HTTP on the loopback with the paths, verbs, query parameters and Status objects of the real one, for one
namespace and the kinds that flowc touches: ConfigMaps, ServiceAccounts, pods with their logs (`follow`, `tailLines`,
`timestamps`, `sinceTime` in whole seconds), Roles and RoleBindings, WorkflowTemplates, CronWorkflows, Workflows,
JobSets. POST (also by `generateName`), evictions of pods, GET, list with label and field selectors, watch of Workflows,
server-side apply, merge PATCH, DELETE, `dryRun`; bearer tokens (401), rights that were taken away (403), groups that
are not installed (404), names that are taken and fields that others own (409). A Workflow that is created is run by the
lab at once, and its `status.nodes` are those of the run; `spec.shutdown` stops it; deleting a JobSet ends its pods. A
pod that is created begins at once. The times of a log's lines are when the server first saw them.

Pods that have a token reach it by TLS, as `KUBERNETES_SERVICE_HOST` and the files of their account say, and may be
given the metadata of an object alone (PartialObjectMetadata).

What it does not model: TLS for others, discovery, OpenAPI, validation by schema (kubernetes-validate and the CRDs do
that for the manifests), admission, defaults, finalizers, owner references and garbage collection, quotas, events, pages
of lists, RBAC rules (rights are a list of what is denied), optimistic locking by resourceVersion, watch bookmarks and
the expiry of old versions, ownership within lists (a list is owned as a whole), times in full seconds, pod garbage
collection. CronWorkflows are kept and start nothing. Workflows without a WorkflowTemplate are refused. Any claim that a
pod named is there.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from argo_cluster import Cluster, Running
from argo_objects import Object, Objects, Refused
from argo_pods import Pod, content
from argo_views import jobset_object, pod_objects, stamp, workflow_status

_KINDS = {
    "configmaps": ("", "v1", "ConfigMap"),
    "serviceaccounts": ("", "v1", "ServiceAccount"),
    "pods": ("", "v1", "Pod"),
    "persistentvolumeclaims": ("", "v1", "PersistentVolumeClaim"),
    "roles": ("rbac.authorization.k8s.io", "v1", "Role"),
    "rolebindings": ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    "workflows": ("argoproj.io", "v1alpha1", "Workflow"),
    "workflowtemplates": ("argoproj.io", "v1alpha1", "WorkflowTemplate"),
    "cronworkflows": ("argoproj.io", "v1alpha1", "CronWorkflow"),
    "jobsets": ("jobset.x-k8s.io", "v1alpha2", "JobSet"),
}
_PERIOD = 0.1
_TOKEN = "a token of the lab"


class ArgoApi:
    """The server, until the end of a ``with`` block.

    Attributes
    ----------
    kubeconfig : Path
        What a client needs to find it, with a context named ``lab``.
    denied : set of (verb, plural)
        What the client has no right to do.
    absent : set of str
        API groups that are not installed.
    busy : int
        How many watches are yet to be answered with 503.
    log_ends : list of str
        How the next logs that are followed end before their time: ``busy`` (503), ``closed`` (as if that were all, in
        the middle of a line), ``broken`` (the connection is cut off).
    seen : list of str
        Every request: its verb, path and query.
    """

    def __init__(self, cluster: Cluster, folder: Path, namespace: str = "flows") -> None:
        self.cluster, self.namespace = cluster, namespace
        self.objects = Objects(namespace)
        self.denied: set[tuple[str, str]] = set()
        self.absent: set[str] = set()
        self.busy = 0
        self.log_ends: list[str] = []
        self.times: dict[str, list[str]] = {}
        self.seen: list[str] = []
        self.runs: dict[str, Running] = {}
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.kubeconfig = folder / "kubeconfig"
        self.closing = False
        self.write_kubeconfig(_TOKEN)
        self._within = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._within.daemon_threads = True
        cluster.place.account = self._account(folder / "account")
        cluster.place.variables = {
            **cluster.place.variables,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._within.server_port),
        }

    def _account(self, folder: Path) -> Path:
        """The files of a pod's account; the API is to have the certificate that they speak of."""
        folder.mkdir()
        (folder / "token").write_text(_TOKEN)
        (folder / "namespace").write_text(self.namespace)
        key, certificate = folder.with_name("key.pem"), folder / "ca.crt"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        words += ["-subj", "/CN=lab", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._within.socket = context.wrap_socket(self._within.socket, server_side=True)
        return folder

    def write_kubeconfig(self, token: str, url: str = "") -> None:
        """The kubeconfig anew, with another token or server."""
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": url or self.url}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [
                {"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": self.namespace}},
            ],
        }
        self.kubeconfig.write_text(json.dumps(text))

    def __enter__(self) -> ArgoApi:
        for server in (self._server, self._within):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing = True
        for server in (self._server, self._within):
            server.shutdown()
            server.server_close()
        for thread in self.runs.values():
            if thread.is_alive():
                thread.workflow.terminate()
        for thread in self.runs.values():
            thread.join(20)

    # What happens in the cluster -------------------------------------------------------------------------------------

    def stored(self, plural: str, body: Object) -> None:
        """An object was created or changed: the controllers act on it."""
        name = body["metadata"]["name"]
        if plural == "configmaps":
            known = {key: body[key] for key in ("apiVersion", "kind", "data", "binaryData", "immutable") if key in body}
            self.cluster.maps[name] = content({**known, "metadata": {}})
        elif plural == "workflowtemplates":
            self.cluster.templates[name] = body["spec"]
        elif plural == "workflows" and name not in self.runs:
            self._start(name, body)
        elif plural == "workflows":
            strategy = body["spec"].get("shutdown")
            if strategy:
                getattr(self.runs[name].workflow, {"Stop": "stop", "Terminate": "terminate"}[strategy])()

    def _start(self, name: str, body: Object) -> None:
        template = body["spec"]["workflowTemplateRef"]["name"]
        given = (body["spec"].get("arguments") or {}).get("parameters") or ()
        try:
            workflow = self.cluster.workflow(template, {item["name"]: item["value"] for item in given}, name)
        except (KeyError, ValueError) as error:
            # The controller tells it in the status.
            status = {"phase": "Error", "message": f"invalid spec: {error}"}
            self.objects.set_status("workflows", name, status, {})
            return
        self.runs[name] = self.cluster.begin(workflow)

    def start_pod(self, body: Object) -> Object:
        """Run a pod that nobody but the client wants: one container that begins at once."""
        pod, spec = body["metadata"], body["spec"]
        (container,) = spec["containers"]
        pod["name"] = pod.get("name") or f"{pod['generateName']}{time.monotonic_ns():x}"
        Pod(self.cluster.place, pod, container, spec.get("volumes", ()), first=True)
        return next(item for item in self.read("pods") if item["metadata"]["name"] == pod["name"])

    def evict(self, name: str) -> None:
        """Have a pod ended, as who drains its node does."""
        found = [pod for pod in self.cluster.place.pods if pod.name == name]
        if not found:
            raise Refused(404, "NotFound", f'pods "{name}" not found', name=name, kind="pods")
        threading.Thread(target=found[0].evict, daemon=True).start()

    def refresh(self) -> None:
        """Write down what the Workflows have come to."""
        for name, thread in list(self.runs.items()):
            ended = not thread.is_alive()
            workflow = thread.workflow
            problem = f"the lab: {thread.problem!r}" if thread.problem else ""
            status = workflow_status(workflow, workflow.spec, ended, problem)
            labels = dict(workflow.spec.get("workflowMetadata", {}).get("labels", {}))
            labels["workflows.argoproj.io/phase"] = status["phase"]
            labels["workflows.argoproj.io/completed"] = str(ended).lower()
            self.objects.set_status("workflows", name, status, labels)

    def read(self, plural: str, labels: str = "") -> list[Object]:
        """The objects of a kind that have these labels."""
        from argo_objects import selected

        if plural == "workflows":
            self.refresh()
        if plural == "persistentvolumeclaims":
            # Every claim is there, once a pod has named it.
            names = sorted(item.name for item in (self.cluster.place.folder / "claims").glob("*"))
            found = [{"metadata": {"name": name}, "status": {"phase": "Bound"}} for name in names]
        elif plural == "jobsets":
            there = [jobset for jobset in self.cluster.jobsets if not jobset.deleted]
            found = [jobset_object(jobset, self.namespace) for jobset in there]
        elif plural == "pods":
            jobsets = self.cluster.jobsets
            gone = {pod.name for jobset in jobsets for pod in (*jobset.past, *(jobset.pods if jobset.deleted else ()))}
            place = self.cluster.place
            found = pod_objects([pod for pod in place.pods if pod.name not in gone], place.held_pods, self.namespace)
        else:
            return self.objects.listed(plural, labels)
        return [item for item in found if selected(item["metadata"].get("labels") or {}, labels)]

    def delete(self, plural: str, name: str, dry_run: bool) -> Object:
        """Delete an object, and what goes with it."""
        if plural == "jobsets":
            found = [jobset for jobset in self.cluster.jobsets if jobset.name == name and not jobset.deleted]
            if not found:
                raise Refused(404, "NotFound", f'jobsets "{name}" not found', name=name, kind=plural)
            found[0].delete()
            return jobset_object(found[0], self.namespace)
        if plural == "pods":
            (gone,) = [pod for pod in self.cluster.place.pods if pod.name == name]
            self.cluster.place.pods.remove(gone)
            gone.terminate()
            return {"metadata": {"name": name}}
        body = self.objects.delete(plural, name, dry_run)
        if plural == "configmaps" and not dry_run:
            self.cluster.maps.pop(name, None)
        return body


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    api: ArgoApi
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PATCH(self) -> None:
        self._answer(self._patch)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act: Callable[[str, str, str], Object | None]) -> None:
        self.api.seen.append(f"{self.command} {self.path}")
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        try:
            self.body: Object = json.loads(data) if data else {}
            if self.headers.get("Authorization") != f"Bearer {_TOKEN}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            self.code = 200
            out = act(*self._route())
            code = self.code
        except Refused as refused:
            code, out = refused.code, refused.body
        if out is not None:
            text = json.dumps(out).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def _route(self) -> tuple[str, str, str]:
        """Kind, name and subresource that a path is about."""
        parts = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        words = parts.path.strip("/").split("/")
        group, version = ("", words[1]) if words[0] == "api" else (words[1], words[2])
        rest = words[2:] if words[0] == "api" else words[3:]
        plural = rest[2] if len(rest) > 2 else ""
        if rest[:1] != ["namespaces"] or _KINDS.get(plural, ())[:2] != (group, version) or group in self.api.absent:
            # What the real one says of a path that no API serves.
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        name, sub = (*rest[3:], "", "")[:2]
        self._allowed(plural, rest[1], name, sub, group)
        if rest[1] != self.api.namespace:
            if self.command == "POST" or (self.command == "PATCH" and "apply" in self.headers["Content-Type"]):
                raise Refused(404, "NotFound", f'namespaces "{rest[1]}" not found', name=rest[1], kind="namespaces")
            if name:
                raise Refused(404, "NotFound", f'{plural} "{name}" not found', name=name, kind=plural)
            plural = ""
        return plural, name, sub

    def _allowed(self, plural: str, namespace: str, name: str, sub: str, group: str) -> None:
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get" if name else "list"}[self.command]
        resource = f"{plural}/{sub}" if sub else plural
        if (verb, resource) in self.api.denied:
            dotted = f"{resource}.{group}" if group else resource
            what = f'{dotted} "{name}" is forbidden' if name else f"{dotted} is forbidden"
            message = (
                f'{what}: User "me" cannot {verb} resource "{resource}" in API group "{group}" in the namespace '
                f'"{namespace}"'
            )
            raise Refused(403, "Forbidden", message, name=name, kind=plural)

    @property
    def _dry(self) -> bool:
        return self.query.get("dryRun") == "All"

    def _get(self, plural: str, name: str, sub: str) -> Object | None:
        if sub == "log":
            return self._log(name)
        if name:
            if plural in ("pods", "jobsets", "persistentvolumeclaims"):
                found = [item for item in self.api.read(plural) if item["metadata"]["name"] == name]
                if not found:
                    raise Refused(404, "NotFound", f'{plural} "{name}" not found', name=name, kind=plural)
                return found[0]
            self.api.refresh()
            found_one = self.api.objects.get(plural, name)
            if "as=PartialObjectMetadata" in self.headers.get("Accept", ""):
                kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
                return {**kind, "metadata": found_one["metadata"]}
            return found_one
        if self.query.get("watch") in ("true", "True", "1"):
            if self.api.busy:
                self.api.busy -= 1
                raise Refused(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            return self._watch(plural)
        items = self.api.read(plural, self.query.get("labelSelector", "")) if plural else []
        kind = f"{_KINDS[plural][2]}List" if plural else "List"
        return {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}

    def _post(self, plural: str, name: str, sub: str) -> Object:
        if sub == "eviction":
            self.api.evict(name)
            self.code = 201
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        self._fits(plural, self.body)
        self.code = 201
        if plural == "pods":
            return self.api.start_pod(self.body)
        manager = self.query.get("fieldManager", "unknown")
        body = self.api.objects.create(plural, self.body, manager, self._dry)
        if not self._dry:
            self.api.stored(plural, body)
        return body

    def _patch(self, plural: str, name: str, sub: str) -> Object:
        kind = self.headers["Content-Type"]
        manager = self.query.get("fieldManager", "unknown")
        if kind == "application/apply-patch+yaml":
            self._fits(plural, self.body)
            force = self.query.get("force") in ("true", "True")
            self.code = 200 if self.api.objects.has(plural, name) else 201
            if "fieldManager" not in self.query:
                raise Refused(400, "BadRequest", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
            if plural == "rolebindings" and not self.api.objects.has("roles", self.body["roleRef"]["name"]):
                # Whoever has no right to bind every role is asked for the rights of this one.
                role = self.body["roleRef"]["name"]
                message = f'roles.rbac.authorization.k8s.io "{role}" not found'
                raise Refused(404, "NotFound", message, name=role, kind="roles")
            body = self.api.objects.apply(plural, name, self.body, manager, force, self._dry)
        elif kind == "application/merge-patch+json":
            body = self.api.objects.merge(plural, name, self.body, manager, self._dry)
        else:
            raise Refused(415, "UnsupportedMediaType", f"the lab takes no {kind}")
        if not self._dry:
            self.api.stored(plural, body)
        return body

    def _delete(self, plural: str, name: str, sub: str) -> Object:
        self.api.delete(plural, name, self._dry)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _fits(self, plural: str, body: Mapping[str, Any]) -> None:
        group, version, kind = _KINDS[plural]
        api = f"{group}/{version}" if group else version
        if (body.get("apiVersion"), body.get("kind")) != (api, kind):
            raise Refused(400, "BadRequest", f"{body.get('apiVersion')} {body.get('kind')} is no {api} {kind}")
        if plural == "workflows" and "workflowTemplateRef" not in body.get("spec", {}):
            raise Refused(422, "Invalid", "the lab runs Workflows of WorkflowTemplates only")

    # Streams ---------------------------------------------------------------------------------------------------------

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _watch(self, plural: str) -> None:
        """Every new version of the objects, until the time is up."""
        field, _, wanted = self.query.get("fieldSelector", "").partition("=")
        seen = int(self.query.get("resourceVersion") or 0)
        until = time.monotonic() + float(self.query.get("timeoutSeconds") or 300)
        self._begin("application/json")
        try:
            while time.monotonic() < until and not self.api.closing:
                for item in self.api.read(plural, self.query.get("labelSelector", "")):
                    version = int(item["metadata"]["resourceVersion"])
                    if version > seen and (field != "metadata.name" or item["metadata"]["name"] == wanted):
                        seen = version
                        self._chunk(json.dumps({"type": "MODIFIED", "object": item}).encode() + b"\n")
                time.sleep(_PERIOD)
            self._chunk(b"")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _log(self, name: str) -> Object | None:
        pod = next((item for item in self.api.cluster.place.pods if item.name == name), None)
        found = [item for item in self.api.read("pods") if item["metadata"]["name"] == name]
        if not found:
            raise Refused(404, "NotFound", f'pods "{name}" not found', name=name, kind="pods")
        if pod is None:
            raise Refused(400, "BadRequest", f'container "main" in pod "{name}" is waiting to start')
        names = [container["name"] for container in found[0]["spec"]["containers"]]
        if self.query.get("container") not in names:
            raise Refused(400, "BadRequest", f"container {self.query.get('container')} is not valid for pod {name}")
        follow = self.query.get("follow") in ("true", "True")
        end = self.api.log_ends.pop(0) if follow and self.api.log_ends else ""
        if end == "busy":
            raise Refused(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        self._begin("text/plain")
        tail = int(self.query.get("tailLines") or 0)
        with (pod.folder / "log").open("rb") as file:
            number, rest = 0, b""
            try:
                while True:
                    ended = pod.process.poll() is not None
                    *lines, rest = (rest + file.read()).split(b"\n")
                    lines = [line + b"\n" for line in lines]
                    if rest and (ended or not follow):
                        lines.append(rest)
                    data = b"".join(self._timed(name, number, lines) if "timestamps" in self.query else lines[-tail:])
                    number += len(lines)
                    if data:
                        self._chunk(data[:-3] if end == "closed" else data)
                    if end == "broken" and data:
                        self.close_connection = True
                        return None
                    if ended or not follow or self.api.closing or (end and data):
                        break
                    time.sleep(_PERIOD)
                self._chunk(b"")
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
        return None

    def _timed(self, pod: str, first: int, lines: list[bytes]) -> list[bytes]:
        """Lines with when the lab first saw them, from the second on that was asked for."""
        times = self.api.times.setdefault(pod, [])
        times += [str(stamp(time.time()))] * (first + len(lines) - len(times))
        found = zip(times[first:], lines)
        since = self.query.get("sinceTime", "")[:19]
        return [when.encode() + b" " + line for when, line in found if when[:19] >= since]

"""The connection to a cluster: which one, which namespace, and the few questions that flowc asks.

Everything goes through the API server, with the rights that kubectl has. The REST service of Argo's own server, which
the package argo-workflows speaks to, need not be installed and has an address and a login of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from ....dsl.loading import without_flows_folders
from .errors import ClusterError, asking, missing

MANAGER = "flowc"
"""Who owns the fields that are applied (https://kubernetes.io/docs/reference/using-api/server-side-apply/)."""

_TIMES = (10, 60)
"""Seconds to connect, and between two pieces of an answer."""

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class Kind(NamedTuple):
    """A kind of objects: its API group (empty for the core), version and name in URLs."""

    group: str
    version: str
    plural: str


KINDS = {
    "ConfigMap": Kind("", "v1", "configmaps"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "Pod": Kind("", "v1", "pods"),
    "Role": Kind("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": Kind("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "Workflow": Kind("argoproj.io", "v1alpha1", "workflows"),
    "WorkflowTemplate": Kind("argoproj.io", "v1alpha1", "workflowtemplates"),
    "CronWorkflow": Kind("argoproj.io", "v1alpha1", "cronworkflows"),
    "JobSet": Kind("jobset.x-k8s.io", "v1alpha2", "jobsets"),
}

Object = dict[str, Any]


class Cluster:
    """One namespace of one cluster.

    Parameters
    ----------
    context : str or None
        Its name in the kubeconfig; the current one otherwise.
    namespace : str or None
        The context's, or ``default``, otherwise.

    Raises
    ------
    ClusterError
        If the packages, the kubeconfig or the context are not there.
    """

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        try:
            with without_flows_folders():
                import kubernetes  # noqa: F401 (said here if it is missing)
        except ImportError as error:
            raise ClusterError(
                f"the Python package {(error.name or 'kubernetes').partition('.')[0]} is missing, by which flowc talks "
                "to clusters; install it with: pip install 'flowc[argo]'"
            ) from None
        self._api, found, self.name = _connect(context)
        self.namespace = namespace or found or "default"

    # Objects ---------------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> Object | None:
        """An object; None where there is none of that name.

        Raises
        ------
        ClusterError
            If it cannot be read, or the cluster does not know the kind.
        """
        from kubernetes.client.exceptions import ApiException

        with self._asking(f"read {kind} {name}", kind):
            try:
                return self._object("GET", kind, name)
            except ApiException as error:
                if error.status == 404 and not missing(error):
                    return None
                raise

    def create(self, kind: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create an object."""
        name = body["metadata"].get("name") or f"{body['metadata'].get('generateName')}..."
        with self._asking(f"create {kind} {name}", kind):
            return self._object("POST", kind, body=body, fieldManager=MANAGER, **_dry(dry_run))

    def apply(self, kind: str, body: Mapping[str, Any], *, dry_run: bool = False, force: bool = False) -> Object:
        """Apply an object on the server's side."""
        name = str(body["metadata"]["name"])
        with self._asking(f"apply {kind} {name}", kind):
            more = {"fieldManager": MANAGER, "force": str(force).lower(), **_dry(dry_run)}
            return self._object("PATCH", kind, name, body=body, content_type=_APPLY, **more)

    def merge(self, kind: str, name: str, body: Mapping[str, Any]) -> Object:
        """Change some fields of an object."""
        with self._asking(f"change {kind} {name}", kind):
            return self._object("PATCH", kind, name, body=body, content_type=_MERGE, fieldManager=MANAGER)

    def delete(self, kind: str, name: str, *, dry_run: bool = False) -> None:
        """Delete an object and what it owns; one that is gone already is no mistake."""
        from kubernetes.client.exceptions import ApiException

        with self._asking(f"delete {kind} {name}", kind):
            try:
                self._object("DELETE", kind, name, propagationPolicy="Background", **_dry(dry_run))
            except ApiException as error:
                if error.status != 404:
                    raise

    def listed(self, kind: str, labels: str = "", limit: int | None = None) -> list[Object]:
        """The objects that have these labels (``flowc/run=x,flowc/step``)."""
        more = {} if limit is None else {"limit": str(limit)}
        with self._asking(f"list {kind}s", kind):
            return list(self._object("GET", kind, labelSelector=labels, **more).get("items") or ())

    def pods(self, labels: str) -> list[Object]:
        """The pods that have these labels."""
        return self.listed("Pod", labels)

    def log(self, pod: str, container: str, *, tail: int | None = None) -> Iterator[bytes]:
        """The lines of a pod's log so far, each with its end.

        A pod of which there is no log (it has not begun, or is gone) gives none.
        """
        more = {} if tail is None else {"tailLines": str(tail)}
        with self._asking(f"read the log of pod {pod}"):
            answer = self._log(pod, container, _TIMES[1], **more)
            for line in () if answer is None else _lines(answer):
                yield line if line.endswith(b"\n") else line + b"\n"

    def follow_log(self, pod: str, container: str, since: str = "") -> Iterator[bytes]:
        """The lines of a pod's log as they come, each behind the time at which it was printed.

        They are asked for at once. The last one has no end where it is not whole, or not yet.

        Parameters
        ----------
        since : str
            From which second on, as RFC 3339 has it.
        """
        more = {"follow": "true", "timestamps": "true", **({"sinceTime": since} if since else {})}
        with self._asking(f"follow the log of pod {pod}"):
            # A task may be silent for days.
            answer = self._log(pod, container, None, **more)
        return self._told(pod, answer)

    def _told(self, pod: str, answer: Any) -> Iterator[bytes]:
        with self._asking(f"follow the log of pod {pod}"):
            yield from () if answer is None else _lines(answer)

    def _log(self, pod: str, container: str, wait: float | None, **more: str) -> Any:
        """The answer with a log; None where there is none."""
        from kubernetes.client.exceptions import ApiException

        try:
            return self._request("GET", "Pod", f"{pod}/log", wait=wait, container=container, **more)
        except ApiException as error:
            if error.status in (400, 404):
                return None
            raise

    def watch(self, kind: str, name: str, version: str, seconds: int) -> Iterator[Object]:
        """An object each time that it changes after a version, for some time; the server may end it earlier."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        more = {"fieldSelector": f"metadata.name={name}", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        with self._asking(f"watch {kind} {name}", kind):
            try:
                answer = self._request("GET", kind, watch="true", wait=seconds + 30, **more)
                for line in _lines(answer):
                    event = json.loads(line)
                    if event["type"] not in ("ADDED", "MODIFIED"):
                        return  # it is gone, or the version is too old
                    yield event["object"]
            except ApiException as error:
                if error.status != 410:
                    raise
            except HTTPError:
                return  # the connection broke; whoever watches asks again

    def _asking(self, purpose: str, kind: str = "") -> Any:
        return asking(f"{purpose} in namespace {self.namespace}", self.name, group=KINDS[kind].group if kind else "")

    def _object(self, verb: str, kind: str, name: str = "", **more: Any) -> Object:
        found: Object = json.loads(self._request(verb, kind, name, **more).data)
        return found

    def _request(
        self,
        verb: str,
        kind: str,
        name: str = "",
        *,
        body: Any = None,
        content_type: str = "application/json",
        wait: float | None = _TIMES[1],
        **query: str,
    ) -> Any:
        """One request; the answer as it comes. The client's typed methods would check it against the version of the API
        that they know, and those for custom resources apply nothing before version 36.
        """
        group, version, plural = KINDS[kind]
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        words = [*path.strip("/").split("/"), "namespaces", self.namespace, plural, *filter(None, name.split("/"))]
        return self._api.call_api(
            "/" + "/".join(quote(word, safe="") for word in words),
            verb,
            {},
            list(query.items()),
            {"Accept": "application/json, */*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=(_TIMES[0], wait),
        )


def _lines(answer: Any) -> Iterator[bytes]:
    """The lines of an answer as they come, each with its end, if it has come."""
    rest = b""
    try:
        for chunk in answer.stream(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest
    finally:
        answer.close()


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _connect(context: str | None) -> tuple[Any, str, str]:
    """The client of the context, its namespace, and its name for people."""
    from kubernetes import config

    where = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        contexts, current = _contexts(where, context)
        names = [item["name"] for item in contexts]
        if context is not None and context not in names:
            raise ClusterError(f"the kubeconfig has no context {context!r}; it has {', '.join(names)}")
        chosen = next((item for item in contexts if item["name"] == context), current)
        api = config.new_client_from_config(where, chosen["name"])
        return api, chosen["context"].get("namespace") or "", f"cluster {chosen['name']}"
    except config.ConfigException as error:
        if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return _inside()
        raise ClusterError(
            f"there is no cluster to talk to: {where} cannot be used ({error}); set KUBECONFIG to a kubeconfig with "
            "which kubectl works"
        ) from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ClusterError(f"the kubeconfig {where} cannot be read: {type(error).__name__} {error}") from None


def _contexts(where: str, context: str | None) -> tuple[list[Any], Any]:
    """The contexts of a kubeconfig, and the current one."""
    from kubernetes import config
    from kubernetes.config.kube_config import KubeConfigMerger

    try:
        contexts, current = config.list_kube_config_contexts(where)
        return list(contexts), current
    except config.ConfigException:
        merged = KubeConfigMerger(where).config
        if context is None or merged is None:
            raise
        # It has no current context, which is no mistake where one is named.
        return [item.value for item in merged["contexts"]], None


def _inside() -> tuple[Any, str, str]:
    """The cluster whose pod this runs in."""
    from kubernetes import client, config

    try:
        config.load_incluster_config()
        with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace", encoding="utf-8") as file:
            return client.ApiClient(), file.read().strip(), "the cluster that this runs in"
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"there is no cluster to talk to: there is no kubeconfig, and this pod cannot talk to its own ({error}); "
            "give it a service account whose token is mounted, or set KUBECONFIG"
        ) from None

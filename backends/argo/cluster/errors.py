"""What a cluster answers when it does not do what it is asked, as one message with what to do about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ....dsl.errors import FlowcError

_INSTALL = {
    "argoproj.io": (
        "Argo Workflows",
        "https://argo-workflows.readthedocs.io/en/stable/installation/",
    ),
    "jobset.x-k8s.io": ("JobSet", "https://jobset.sigs.k8s.io/docs/installation/"),
}
_LONGEST = 600
_PASSING = (0, 429, 500, 502, 503, 504)
"""Statuses of a server that is out of reach, too busy, or being moved: a later answer may be another one."""

PATIENCE = 600.0
"""Seconds in a row without an answer after which what waits for a run gives up."""

_PAUSES = (2.0, 30.0)
T = TypeVar("T")


class ClusterError(FlowcError):
    """The cluster cannot be reached or does not do what it is asked; the message says what to do.

    Attributes
    ----------
    status : int
        The HTTP status that it answered; 0 where it did not answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def patiently(ask: Callable[[], T], patience: float = PATIENCE) -> T:
    """What a question is answered, asked again for some seconds while the cluster is out of reach or too busy.

    Raises
    ------
    ClusterError
        The last one, once patience is at its end; any other at once.
    """
    pause, until = _PAUSES[0], time.monotonic() + patience
    while True:
        try:
            return ask()
        except ClusterError as error:
            if error.status not in _PASSING or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])


@contextmanager
def asking(purpose: str, server: str, *, group: str = "") -> Iterator[None]:
    """Turn what goes wrong in a block into a `ClusterError`.

    Parameters
    ----------
    purpose : str
        What is being done, in words that follow "cannot".
    server : str
        The cluster as messages name it.
    group : str
        The API group that is asked for.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise ClusterError(_explained(purpose, server, group, error), int(error.status or 0)) from error
    except (HTTPError, OSError) as error:
        raise ClusterError(
            f"cannot {purpose}: {server} cannot be reached ({_short(error)}); is the cluster up, and the VPN or proxy "
            "set? kubectl cluster-info asks it, too"
        ) from error


def _explained(purpose: str, server: str, group: str, error: Any) -> str:
    body = answer(error)
    message = str(body.get("message") or error.reason or "").strip()[:_LONGEST]
    details = body.get("details") or {}
    said = f"cannot {purpose}"
    if error.status == 401:
        return f"{said}: {server} does not know you; log in again (kubectl auth whoami shows as whom you are known)"
    if error.status == 403 and "attempting to grant" in message:
        return (
            f"{said}: one can only grant rights that one has ({message}); let somebody who has them apply the "
            "rbac.yaml that flowc compile writes, or give you the verb escalate on roles"
        )
    if error.status == 403:
        return f"{said}: {message}; ask whoever runs the cluster for this right, or choose another --namespace"
    if error.status == 404 and details.get("kind") == "namespaces":
        return f"{said}: there is no namespace {details.get('name')}; create it, or choose another with --namespace"
    if error.status == 404 and missing(error):
        name, url = _INSTALL.get(group, (group or "this API", "the documentation of the cluster"))
        return f"{said}: {name} is not installed on {server}; see {url}"
    if error.status == 409:
        return f"{said}: {message}"
    if error.status in (400, 422):
        return f"{said}: Kubernetes refuses it: {message}"
    if error.status in (429, 500, 502, 503, 504):
        return f"{said}: {server} answers {error.status} ({message}); try again in a moment"
    return f"{said}: {server} answers {error.status} {message}"


def answer(error: Any) -> dict[str, Any]:
    """The Status object that came with an error; empty where there is none."""
    try:
        body = json.loads(error.body or "{}")
    except (TypeError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def missing(error: Any) -> bool:
    """Whether a 404 means that the API itself is not there, rather than one object."""
    return not (answer(error).get("details") or {}).get("name")


def _short(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, BaseException) else error)
    return text.rpartition("object at ")[2].partition(">: ")[2] or text

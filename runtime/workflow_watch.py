"""Argo: whether the Workflow that a gang belongs to has ended, as the API of the cluster tells its control rank.

`argo terminate` ends the pods that Argo started. The ranks of a gang are not among them: a JobSet made them, no exit
handler runs that would delete it, and it would work on until its deadline. So the control rank looks, with an account
that may do no more than that (measured: JobSets stay after a termination).
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from . import contract
from .outline import ContractError
from .time_limit import tell

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes puts the token of a pod's account, with its namespace and the authority that signed the API's
certificate (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/)."""

PERIOD = 15.0
"""Seconds between two looks."""

_API = "/apis/argoproj.io/v1alpha1"
# Argo sets both (https://argo-workflows.readthedocs.io/en/latest/fields/, common labels).
_COMPLETED = "workflows.argoproj.io/completed"
_PHASE = "workflows.argoproj.io/phase"
# Its labels alone: of a long run the rest is a megabyte.
_ACCEPT = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
_ANSWER = 10.0
_BLIND = "whether Workflow {} ends cannot be seen from here, so after a termination this gang runs until its deadline"
_PATIENCE = 4
"""Looks in a row that may fail before that is said."""

_REST = 15.0
"""Seconds that ranks have to end beyond those that they may take to save a checkpoint."""


class WorkflowWatch(NamedTuple):
    """A look at a Workflow now and then.

    Parameters
    ----------
    workflow : str
        Its name.
    grace : float
        Seconds that the gang has to end by itself once the Workflow has.
    period : float
        Seconds between two looks.
    """

    workflow: str
    grace: float
    period: float = PERIOD

    def wait(self) -> str:
        """Wait until the Workflow has ended or is gone, however long that takes; gives which of both.

        Where it cannot be seen, that is said once.
        """
        seen, failed = False, 0
        while True:
            try:
                code, body = _get(f"{_API}/namespaces/{_of_account('namespace')}/workflows/{self.workflow}")
                labels = (body.get("metadata") or {}).get("labels") or {}
                if code == 200 and labels.get(_COMPLETED) == "true":
                    return f"Workflow {self.workflow} has ended ({labels.get(_PHASE, 'phase unknown')})"
                # In a cluster that only takes another one's JobSets in, it never was.
                if seen and code == 404 and _name(body.get("details")) == self.workflow:
                    return f"Workflow {self.workflow} is gone"
                why = "" if code == 200 else f"{code} {body.get('message')}"
            except Exception as error:
                # It is no reason for the gang to fail that somebody else's server, network or Python does.
                why = str(error) or type(error).__name__
            seen, failed = seen or not why, failed + 1 if why else 0
            if failed == _PATIENCE:
                tell(f"{_BLIND.format(self.workflow)}: {why}")
            time.sleep(self.period)


def workflow_watch(checkpoint: Optional[float] = None) -> Optional[WorkflowWatch]:
    """The watch that FLOWC_WORKFLOW asks for; None where it is not set or the pod has no account.

    Parameters
    ----------
    checkpoint : float, optional
        Seconds that ``@checkpoint(grace=)`` gives.

    Raises
    ------
    ContractError
        If FLOWC_PREEMPT_GRACE holds no number of seconds.
    """
    workflow = os.environ.get(contract.WORKFLOW)
    if not workflow:
        return None
    if not os.path.exists(f"{ACCOUNT}/token"):
        tell(f"{_BLIND.format(workflow)}: the pod has no token")
        return None
    try:
        grace = contract.preempt_grace(checkpoint)
    except ValueError as error:
        raise ContractError(str(error)) from None
    return WorkflowWatch(workflow, grace + _REST)


def _name(details: Optional[Mapping[str, Any]]) -> Optional[str]:
    """What a 404 is about: nothing, where the API itself is not served."""
    return None if details is None else details.get("name")


def _get(path: str) -> tuple[int, Mapping[str, Any]]:
    import ssl

    # Not through a proxy: the token goes with it.
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    trusted = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    # From Python 3.13 on it would want extensions in the cluster's own certificate that EKS and MicroK8s do not put
    # there (https://github.com/kubernetes-client/python/issues/2394). Chain, name and time are checked all the same.
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    connection = http.client.HTTPSConnection(host, port, timeout=_ANSWER, context=trusted)
    try:
        # Read each time: Kubernetes gives a new one before the old one expires.
        headers = {"Authorization": f"Bearer {_of_account('token')}", "Accept": _ACCEPT}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return answer.status, body if isinstance(body, dict) else {}
    finally:
        connection.close()


def _of_account(name: str) -> str:
    with open(f"{ACCOUNT}/{name}", encoding="utf-8") as file:
        return file.read().strip()

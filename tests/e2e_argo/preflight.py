"""Whether there is a cluster on which the tests can run, and what it lacks; ends with 2 where it lacks anything."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "flows"))

from flow_argo_cluster import Site

_NEEDED = """\
make e2e-argo runs the tests' flows on a real cluster. It needs
  KUBECONFIG            a kubeconfig with which kubectl works
  Argo Workflows 3.7 or 4, and JobSet 0.6 or later, installed in the cluster
  a namespace for the tests (FLOWC_E2E_NAMESPACE, by default flowc-e2e)
  a PersistentVolumeClaim in it that many pods may write to (FLOWC_E2E_DATASTORE, by default pvc://flowc)
docs/e2e-argo.md says how to get all of it on one machine, and what else can be set."""


def lacking(site: Site) -> list[str]:
    """What the cluster lacks, in sentences."""
    from flowc.backends.argo.cluster.connection import Cluster
    from flowc.backends.argo.cluster.errors import ClusterError
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException

    found = []
    try:
        cluster = Cluster(site.context, site.namespace)
        for kind in ("WorkflowTemplate", "JobSet"):
            try:
                cluster.listed(kind, limit=1)
            except ClusterError as error:
                found.append(str(error))
                if not error.status:
                    return found
    except ClusterError as error:
        return [str(error)]
    core = client.CoreV1Api(config.new_client_from_config(os.environ["KUBECONFIG"], site.context))
    try:
        core.read_namespaced_persistent_volume_claim(site.claim, site.namespace, _preload_content=False)
    except ApiException as error:
        said = f"{error.status} {error.reason}"
        found.append(f"the claim {site.claim} in namespace {site.namespace} cannot be used: {said}")
    if urlsplit(site.datastore).scheme not in ("pvc", "s3"):
        found.append(f"FLOWC_E2E_DATASTORE={site.datastore} is neither pvc://CLAIM/FOLDER nor s3://BUCKET/PREFIX")
    return found


def main() -> int:
    """0 where the tests can run."""
    if not os.environ.get("KUBECONFIG"):
        print(f"{_NEEDED}\n\nKUBECONFIG is not set.", file=sys.stderr)
        return 2
    site = Site.from_environment()
    found = lacking(site)
    if found:
        print(_NEEDED, *found, sep="\n\n", file=sys.stderr)
        return 2
    print(f"e2e-argo: namespace {site.namespace}, datastore {site.datastore}, image {site.image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

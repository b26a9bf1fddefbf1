"""Talking to a Kubernetes cluster with Argo Workflows and JobSet; everything here needs the extra flowc[argo]."""

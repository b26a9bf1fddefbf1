"""The little languages inside Argo's manifests, one grammar each."""

"""Argo Workflows, with gangs as JobSets."""

"""Engines that are pods of a Kubernetes cluster, found by label."""

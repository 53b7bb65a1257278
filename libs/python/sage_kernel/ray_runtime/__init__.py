"""Pipelines on Ray Data: the same kernels, Ray's scheduling, shuffle and memory."""

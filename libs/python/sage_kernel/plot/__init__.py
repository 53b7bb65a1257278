"""Drawings of a pipeline's graph."""

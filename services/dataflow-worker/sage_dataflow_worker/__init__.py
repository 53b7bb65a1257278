"""The dataflow-worker service."""

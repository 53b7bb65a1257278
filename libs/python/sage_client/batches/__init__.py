"""Batches of requests at a gateway."""

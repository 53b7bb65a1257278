"""Placement of requests on engines: filter, score, pick."""

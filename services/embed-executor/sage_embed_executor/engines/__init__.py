"""Engines: one file each, and one line each in ``embedding_engines``."""

"""Kinds of engine: one file each, and one line each in ``registry``."""

"""Scheduling policies, which order the queue: one file each, one line each in the registry; and the queue itself."""

"""The applications' commands, a group ``app`` each: ``run``, which is meant by default, and ``evaluate``."""

"""Sending requests: as fast as answers come (closed loop) or at scheduled times (open loop)."""

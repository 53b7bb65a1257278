"""Requests from submission to end: the request table, attempts, recovery, hedging, timers and decisions."""

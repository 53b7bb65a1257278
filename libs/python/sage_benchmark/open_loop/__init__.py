"""Sending a workload at its scheduled times, whatever the answers do."""

"""Triage of support tickets on a stream: similar resolved tickets, a category, counts by window, alerts."""

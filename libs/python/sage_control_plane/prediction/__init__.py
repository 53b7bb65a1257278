"""Predictions of latency, length and cost, learned from past requests."""

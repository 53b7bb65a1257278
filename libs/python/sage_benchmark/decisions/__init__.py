"""Decisions of the scheduler a second, and what engines at rest cost it."""

"""A monitor of incoming articles: near-duplicates, and topics with a label, a count and when they were first seen."""

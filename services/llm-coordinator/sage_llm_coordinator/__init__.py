"""The llm-coordinator service."""

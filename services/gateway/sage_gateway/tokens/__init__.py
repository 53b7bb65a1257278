"""The tokens of texts."""

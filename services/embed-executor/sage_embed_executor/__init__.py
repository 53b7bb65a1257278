"""The embed-executor service."""

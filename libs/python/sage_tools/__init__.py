"""L6: tools for people who work on SAGE."""

"""The figures of the system's description, each of a real run."""

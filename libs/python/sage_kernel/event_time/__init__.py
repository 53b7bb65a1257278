"""Windows, watermarks and joins in event time."""

"""What sources read and sinks write: one file a kind of place."""

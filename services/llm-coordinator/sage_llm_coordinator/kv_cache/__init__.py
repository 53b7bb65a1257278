"""What the prefix cache of an engine holds, as its server tells: events in, accounts of prompt blocks out."""

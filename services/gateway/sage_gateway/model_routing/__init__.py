"""The names that callers use for models, resolved before a request enters the mesh."""

"""L4: the ring's participants share this: wire translation, the engine directory, the edge, the executor."""

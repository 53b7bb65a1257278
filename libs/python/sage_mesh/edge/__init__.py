"""The edge of the ring: it owns a request until the last frame of its answer is delivered."""

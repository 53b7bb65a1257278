"""The client of the mesh: one typed API, over HTTP or straight onto the ring."""

"""``sage bench embed``: embeddings through the mesh beside the best that the same machine does without it."""

"""From queued token ids to vectors: the queues, the cost of a batch, and the streams that compute."""

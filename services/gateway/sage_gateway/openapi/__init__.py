"""The description of the HTTP API, made from what its handlers declare."""

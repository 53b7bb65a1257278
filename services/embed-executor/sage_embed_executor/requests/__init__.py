"""What a request's body asks of a model, and its texts as token ids."""

"""Which engine a request goes to: filter, score, pick."""

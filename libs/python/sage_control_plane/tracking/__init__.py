"""What became of each request: the request table, its attempts, and what is done when one fails."""

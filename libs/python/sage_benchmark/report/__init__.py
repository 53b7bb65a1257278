"""What a benchmark found: outcomes of requests, figures from them, and reports that people read."""

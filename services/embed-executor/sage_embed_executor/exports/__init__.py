"""Models in the format that a faster runtime reads: made once, in a child process, and kept in the user's cache."""

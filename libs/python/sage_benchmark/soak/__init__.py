"""Half an hour of mixed load on three hosts whose processes are killed, with an account of every request."""

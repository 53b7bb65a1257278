"""The executor's side of the ring: hosts engines, runs what is dispatched to them, writes their answers as frames."""

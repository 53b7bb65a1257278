"""Process supervision: start, watch, restart and stop child processes, and leave none behind."""

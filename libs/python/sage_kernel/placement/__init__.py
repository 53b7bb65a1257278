"""Where the tasks of a job run: how a graph becomes tasks, and which worker takes each. Pure."""

"""Running a pipeline inside one process."""

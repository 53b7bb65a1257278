"""The subcommands, one a file. Heavy imports are inside the functions, so that ``sage --help`` is quick."""

"""L4: C++-backed operators, each with a reference in Python."""

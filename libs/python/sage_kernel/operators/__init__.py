"""The operators: one file each, with the spec of its nodes and what runs them."""

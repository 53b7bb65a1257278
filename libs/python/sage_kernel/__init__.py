"""L3: the dataflow graph: spec, validation, operators, runtime."""

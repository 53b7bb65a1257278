"""Which backend runs a model, at which precision and token budget: what is installed is tried and measured."""

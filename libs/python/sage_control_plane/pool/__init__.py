"""The engines of a pool: state, credits, breakers, and the routes that they serve."""

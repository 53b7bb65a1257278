"""The pages. Each module has ``register``, which adds one page to the studio."""

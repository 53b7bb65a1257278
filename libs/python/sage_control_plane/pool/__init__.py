"""The engines of a pool: their state, credits and breakers, and which of them serve a route."""

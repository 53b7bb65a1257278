"""How a model runs: one file a backend, one line each in ``registry``."""

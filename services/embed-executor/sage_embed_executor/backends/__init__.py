"""What runs a model: one file a backend, and one line each in ``registry``."""

"""Ready-made ways to run vLLM: ``sage engine preset list``."""

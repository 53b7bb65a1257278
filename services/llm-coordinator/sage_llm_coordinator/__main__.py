"""``python -m sage_llm_coordinator``."""

from sage_llm_coordinator.main import main

main()

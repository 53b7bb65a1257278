"""``python -m sage_llm_coordinator``."""

from sage_common.quick_imports import quick_imports

with quick_imports():
    from sage_llm_coordinator.main import main

main()

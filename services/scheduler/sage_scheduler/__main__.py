"""``python -m sage_scheduler``."""

from sage_common.load_on_use import load_on_use
from sage_common.quick_imports import quick_imports

load_on_use("aiohttp")
with quick_imports():
    from sage_scheduler.main import main

main()

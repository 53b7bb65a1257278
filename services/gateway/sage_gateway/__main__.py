"""``python -m sage_gateway``."""

from sage_common.load_on_use import load_on_use
from sage_common.quick_imports import quick_imports

load_on_use("aiohttp")
with quick_imports():
    from sage_gateway.main import main

main()

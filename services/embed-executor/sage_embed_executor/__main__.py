"""``python -m sage_embed_executor``."""

from sage_common.load_on_use import load_on_use
from sage_common.quick_imports import quick_imports

load_on_use("aiohttp")
with quick_imports():
    from sage_embed_executor.main import main

main()

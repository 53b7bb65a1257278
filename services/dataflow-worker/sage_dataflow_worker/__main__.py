"""``python -m sage_dataflow_worker``."""

from sage_common.load_on_use import load_on_use
from sage_common.quick_imports import quick_imports

load_on_use("aiohttp")
with quick_imports():
    from sage_dataflow_worker.main import main

main()

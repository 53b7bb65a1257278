"""``python -m sage_embed_executor``."""

from sage_common.load_on_use import load_on_use

load_on_use("aiohttp")

from sage_embed_executor.main import main  # noqa: E402 - what it imports must not load aiohttp

main()

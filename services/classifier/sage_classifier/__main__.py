"""``python -m sage_classifier``."""

from sage_common.load_on_use import load_on_use

load_on_use("aiohttp")

from sage_classifier.main import main  # noqa: E402 - what it imports must not load aiohttp

main()

"""``python -m sage_embed_executor``."""

from sage_embed_executor.main import main

main()

"""``python -m sage_gateway``."""

from sage_gateway.main import main

main()

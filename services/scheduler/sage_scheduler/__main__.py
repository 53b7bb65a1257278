"""``python -m sage_scheduler``."""

from sage_scheduler.main import main

main()

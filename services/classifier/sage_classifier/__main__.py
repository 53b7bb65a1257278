"""``python -m sage_classifier``."""

from sage_classifier.main import main

main()

"""``python -m sage_studio``."""

from sage_studio.main import main

if __name__ == "__main__":
    main()

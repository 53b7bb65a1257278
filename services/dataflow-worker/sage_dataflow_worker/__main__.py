"""``python -m sage_dataflow_worker``."""

from sage_dataflow_worker.main import main

main()

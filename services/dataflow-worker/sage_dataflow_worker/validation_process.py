"""``python -m sage_dataflow_worker.validation_process``: reads pipelines for a worker; see ``validation_child``."""

from sage_common.quick_imports import quick_imports

with quick_imports():
    from sage_dataflow_worker.validation_child import main

main()

"""One policy measured in a process of its own: ``python -m sage_benchmark.decisions.books_process``.

Whether the decisions are compiled is settled when their modules are imported, so each way is a process.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

# What `make compiled` compiles; see ``sage_tools.compiled``.
COMPILED = ("sage_control_plane", "sage_common.removable_heap")


class SourcesOnly(MetaPathFinder):
    """Finds the sources of the decisions also where extensions lie beside them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module's source; None for other modules."""
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in COMPILED):
            return None
        for folder in sys.path if path is None else path:
            spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        return None


def main() -> None:
    """Measure what the arguments say, and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("policy")
    parser.add_argument("--engines", type=int, required=True)
    parser.add_argument("--queued", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--interpreted", action="store_true")
    asked = parser.parse_args()
    if asked.interpreted:
        sys.meta_path.insert(0, SourcesOnly())
    from sage_benchmark.decision_rate import measure
    from sage_control_plane import manager
    from sage_platform.process_tuning import settle_garbage_collector

    settle_garbage_collector()
    rate = measure(asked.policy, engines=asked.engines, queued=asked.queued, requests=asked.requests)
    compiled = not str(manager.__file__).endswith(".py")
    print(json.dumps({"compiled": compiled, "queued": rate.queued, "per_second": rate.per_second}))


if __name__ == "__main__":
    main()

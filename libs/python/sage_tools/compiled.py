"""Compile the scheduler's decisions with mypyc: the same sources, about twice as fast.

Run as ``python -m sage_tools.compiled build|remove|check [FOLDER]`` from the repository's root; needs mypy, setuptools
and a C compiler. Each module's extension lies beside its source, where Python finds it first, so a change of the source
has no effect until it is built again or removed. FOLDER: where the packages lie, if not in ``libs/python``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

SOURCES = Path("libs/python")
PACKAGE = "sage_control_plane"
BESIDE = ("sage_common/removable_heap.py",)
# What stays interpreted, and why.
INTERPRETED = {
    # mypyc cannot compile them.
    "policies/policy.py": "a generic dataclass",
    "policies/registry.py": "a class within a function",
    # Settings are read with the marks of their types, of which mypyc keeps none.
    "policies/admission_settings.py": "settings",
    "policies/hybrid_settings.py": "settings",
    "policies/priority.py": "settings",
    "placement/scorer_weights.py": "settings",
    "pool/breaker_settings.py": "settings",
    "pool/reservation_settings.py": "settings",
    "prediction/settings.py": "settings",
    "settings.py": "settings",
    "tracking/backoff.py": "settings",
    "tracking/settings.py": "settings",
    # Where a class is interpreted, what it is derived from has to be, and what else is.
    "policies/keyed_lanes.py": "the base of a policy with settings",
    "policies/static_key.py": "the base of policies beside it",
    "policies/fifo.py": "beside them",
    "policies/slo_aware.py": "beside them",
    # The classifier's: they take what JSON holds, and mypyc insists on the types that were promised.
    "request/body.py": "JSON",
    "request/body_fields.py": "JSON",
    "request/catalog.py": "JSON",
    "request/classification.py": "JSON",
    "request/features.py": "JSON",
    "request/number_ranges.py": "JSON",
}
# Objects of the compiler, and the C that mypyc writes.
SCRATCH = Path(".sage/compiled")
# The extension that holds the code of all modules.
GROUP = PACKAGE


def sources(root: Path = SOURCES) -> list[Path]:
    """Return the modules that are compiled, relative to ``root``."""
    left_out = {root / PACKAGE / name for name in INTERPRETED}
    found = [path for path in sorted((root / PACKAGE).rglob("*.py")) if path.name != "__init__.py"]
    return [path.relative_to(root) for path in found if path not in left_out] + [Path(name) for name in BESIDE]


def extensions(root: Path = SOURCES) -> Iterator[Path]:
    """Yield the extensions that were built, the one that all share among them."""
    suffix = EXTENSION_SUFFIXES[0]
    yield from (root / PACKAGE).rglob(f"*{suffix}")
    yield from (path for name in (*BESIDE, f"{GROUP}__mypyc") if (path := (root / name).with_suffix(suffix)).exists())


def stale(root: Path = SOURCES) -> list[Path]:
    """Return the sources that have changed, or are new, since extensions were built; none where none were."""
    built = list(extensions(root))
    if not built:
        return []
    oldest = min(path.stat().st_mtime for path in built)
    return [path for path in sources(root) if (root / path).stat().st_mtime > oldest]


def remove(root: Path = SOURCES) -> None:
    """Remove the extensions: Python runs the sources again."""
    for built in list(extensions(root)):
        built.unlink()


def build(root: Path = SOURCES) -> None:
    """Build them in place; takes a minute. Raises SystemExit where mypyc or the compiler refuses."""
    from mypyc.build import mypycify
    from setuptools import setup

    remove(root)
    scratch = SCRATCH.resolve()
    # Of what a module imports only SAGE's own types matter, and a machine that builds images has nothing else.
    options = ["--strict", "--ignore-missing-imports", "--allow-untyped-decorators", "--allow-subclassing-any"]
    modules = [str(path) for path in sources(root)]
    os.chdir(root)
    setup(
        name=GROUP,
        packages=[],
        ext_modules=mypycify([*options, *modules], target_dir=str(scratch), group_name=GROUP, debug_level="0"),
        script_args=[
            *("--quiet", "build_ext", "--inplace"),
            *("--build-temp", str(scratch / "objects"), "--build-lib", str(scratch / "lib")),
        ],
    )


def main() -> None:
    """Do what the arguments say."""
    order, root = [*sys.argv[1:], "", ""][:2]
    where = Path(root) if root else SOURCES
    if order == "build":
        build(where)
    elif order == "remove":
        remove(where)
    elif order == "check":
        if old := stale(where):
            names = ", ".join(map(str, old[:5])) + (f" and {len(old) - 5} more" if len(old) > 5 else "")
            raise SystemExit(f"changed since they were built, run `make compiled` or `make interpreted`: {names}")
    else:
        raise SystemExit("usage: python -m sage_tools.compiled build|remove|check [FOLDER]")


if __name__ == "__main__":
    main()

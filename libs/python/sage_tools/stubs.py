"""Generate the protobuf and gRPC stubs of ``proto/`` into ``libs/python``, or check that they are fresh.

Run as ``python -m sage_tools.stubs [--check]`` from the repository's root.
"""

from __future__ import annotations

import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

PROTO = Path("proto")
TARGET = Path("libs/python")


def generate(target: Path) -> list[Path]:
    """Write the stubs of every ``.proto`` below ``target`` and return their paths relative to it."""
    from grpc_tools import protoc

    sources = sorted(PROTO.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}"]
    arguments += [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main([*arguments, *map(str, sources)]) != 0:
        raise SystemExit("protoc failed; its message is above")
    # A package without a service gets an empty gRPC stub; it would only mislead.
    for stub in target.rglob("*_pb2_grpc.py"):
        if "class " not in stub.read_text(encoding="utf-8"):
            stub.unlink()
    packages = {target / source.relative_to(PROTO).parent for source in sources}
    for package in sorted(packages | {package.parent for package in packages}):
        init = package / "__init__.py"
        if not init.exists():
            init.touch()
    return sorted(path.relative_to(target) for path in (target / "sage").rglob("*_pb2*"))


def stale_stubs() -> list[Path]:
    """Return the checked-in stubs that differ from what ``proto/`` generates, missing and superfluous ones included."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        present = {path.relative_to(TARGET) for path in (TARGET / "sage").rglob("*_pb2*") if path.suffix != ".pyc"}
        differing = {
            path
            for path in fresh
            if not (TARGET / path).exists() or not filecmp.cmp(Path(scratch) / path, TARGET / path, shallow=False)
        }
        return sorted(differing | (present - set(fresh)))


def main() -> None:
    """Generate, or with ``--check`` fail when a stub is stale."""
    if "--check" in sys.argv[1:]:
        stale = stale_stubs()
        if stale:
            raise SystemExit("stale stubs, run `make proto`: " + ", ".join(map(str, stale)))
        return
    generate(TARGET)


if __name__ == "__main__":
    main()

"""The last release whose contracts are kept, or a check that the present ones still keep to them.

Run as ``python -m sage_tools.released`` from the repository's root: it has ``buf breaking`` compare ``proto/`` with
that release, and fails where a process of it would not understand one of the present version.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROTO = Path("proto")
FOLDER = PROTO / "released"


@dataclass(frozen=True)
class Release:
    """A release.

    Attributes:
        image: its contracts, a serialized ``FileDescriptorSet``.
        commit: what was released.
    """

    version: str
    image: Path
    commit: str


def last_release(root: Path = Path()) -> Release:
    """Return the release with the highest version.

    Raises:
        FileNotFoundError: none is kept, or its commit is not said.
    """
    images = list((root / FOLDER).glob("*.binpb"))
    if not images:
        raise FileNotFoundError(f"no release is in {root / FOLDER}; its README says how one gets there")
    image = max(images, key=lambda path: tuple(int(part) for part in path.stem.split(".")))
    commit = image.with_suffix(".commit").read_text(encoding="ascii").strip()
    return Release(image.stem, image, commit)


def main() -> int:
    """Compare; return buf's exit status."""
    release = last_release()
    buf = Path(sys.executable).with_name("buf")
    return subprocess.run([buf, "breaking", PROTO, "--against", release.image], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())

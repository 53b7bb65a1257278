"""Names of what is added: what one may be, and what else is made of it."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from sage_common.errors import ConflictError, InvalidRequestError

MOST_CHARACTERS = 40


def checked_name(name: str, kind: str) -> str:
    """Return the name with underscores. Raises InvalidRequestError for one that Python, YAML or a file cannot have."""
    plain = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", plain) or len(plain) > MOST_CHARACTERS:
        raise InvalidRequestError(
            f"{name!r} is no name for a new {kind}: use lower-case letters, digits and single underscores, a letter "
            f"first, at most {MOST_CHARACTERS} characters, as in shortest_first"
        )
    if keyword.iskeyword(plain) or keyword.issoftkeyword(plain):
        raise InvalidRequestError(f"{name!r} is a word of Python's; choose another name for the new {kind}")
    return plain


def words_of(name: str) -> dict[str, str]:
    """Return the forms of a name that templates use: ``a_b``, ``AB`` as of a class, ``A_B``, ``a-b``, "a b"."""
    parts = name.split("_")
    return {
        "name": name,
        "Name": "".join(part.capitalize() for part in parts),
        "NAME": name.upper(),
        "dashed": "-".join(parts),
        "spoken": " ".join(parts),
    }


def check_unused(folders: list[Path], module: str, classes: tuple[str, ...]) -> None:
    """Raise ConflictError where the layer has a module or class of this name; each means one thing in it."""
    taken = re.compile(rf"^\s*class ({'|'.join(classes)})\b", re.MULTILINE)
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if path.stem == module:
                raise ConflictError(f"the layer has a module {module!r} already: {path}; choose another name")
            if found := taken.search(path.read_text(encoding="utf-8")):
                raise ConflictError(f"the layer has a class {found[1]!r} already: {path}; choose another name")

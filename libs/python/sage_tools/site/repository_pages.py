"""The repository's Markdown as pages of the site: where each lies there, and its links as they are from there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

# Pages that do not lie in docs/: the file, from the repository's root, and the page.
OUTSIDE_DOCS = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "compose/README.md": "operating/containers.md",
    "deploy/kubernetes/README.md": "operating/kubernetes.md",
    "examples/README.md": "examples.md",
    "libs/cpp/README.md": "native.md",
}
# Folders that have a page of their own.
FOLDERS = {"docs/adr": "adr/index.md"}
_LINK = re.compile(r"\[(?P<text>[^\[\]]*(?:\[[^\]]*\][^\[\]]*)*)\]\((?P<target>[^()\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)


def repository_pages(root: Path) -> dict[str, str]:
    """Return the page of each Markdown file that is one, by the file's path from the root."""
    pages = {name: page for name, page in OUTSIDE_DOCS.items() if (root / name).exists()}
    for readme in sorted(root.glob("services/*/README.md")):
        pages[readme.relative_to(root).as_posix()] = f"services/{readme.parent.name}.md"
    for readme in sorted(root.glob("libs/python/sage_apps/*/README.md")):
        pages[readme.relative_to(root).as_posix()] = f"applications/{readme.parent.name}.md"
    for path in sorted((root / "docs").rglob("*.md")):
        pages[path.relative_to(root).as_posix()] = path.relative_to(root / "docs").as_posix()
    return pages


def as_page(text: str, file: str, pages: dict[str, str], exists: Callable[[str], bool]) -> str:
    """Return a file's Markdown with its links as they are from its page.

    A link to another page leads there. One to a file that is no page, such as a source, becomes its text, since the
    site has only pages; one to what does not exist is left for the site's own check to find.

    Args:
        file: the Markdown's path from the repository's root.
        exists: whether the repository has a path.
    """

    def linked(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = os.path.normpath(PurePosixPath(file).parent / target)
        path = path if path in pages or f"{path}/README.md" not in pages else f"{path}/README.md"
        # What else lies in docs/, such as an image, lies beside the pages.
        beside = path.removeprefix("docs/") if path.startswith("docs/") and exists(path) else ""
        place = pages.get(path) or FOLDERS.get(path) or beside
        if place:
            page = os.path.relpath(place, PurePosixPath(pages[file]).parent)
            return f"[{match['text']}]({page}{'#' + anchor if anchor else ''})"
        return match["text"] if exists(path) else match[0]

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(linked, part) for part in parts)


def decision_index(root: Path) -> str:
    """Return the page that lists the architecture decision records."""
    lines = []
    for path in sorted((root / "docs/adr").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "# Decisions\n\nWhat someone may question, and why it is so.\n\n" + "\n".join(lines) + "\n"

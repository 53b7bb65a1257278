"""Run by mkdocs (the plugin ``gen-files``, see mkdocs.yml): writes the pages that docs/ itself does not hold."""

from __future__ import annotations

from pathlib import Path

import mkdocs_gen_files

from sage_tools.site.command_reference import command_reference
from sage_tools.site.http_reference import http_reference
from sage_tools.site.message_reference import message_reference
from sage_tools.site.repository_pages import as_page, decision_index, repository_pages
from sage_tools.site.setting_reference import setting_reference


def write_pages(root: Path) -> None:
    """Write every page of the repository, and the references."""
    pages = repository_pages(root)
    for file, page in pages.items():
        text = (root / file).read_text(encoding="utf-8")
        _write(page, as_page(text, file, pages, lambda path: (root / path).exists()))
    _write("adr/index.md", decision_index(root))
    _write("reference/command-line.md", command_reference())
    _write("reference/settings.md", setting_reference())
    _write("reference/http.md", http_reference())
    _write("reference/grpc.md", message_reference(root / "proto"))


def _write(page: str, text: str) -> None:
    with mkdocs_gen_files.open(page, "w") as written:
        written.write(text)


write_pages(Path.cwd())

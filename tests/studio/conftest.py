"""A mesh with its studio, and a browser that looks at it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fixtures.studio_mesh import OpenPage, Shoot

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# `make test-studio` installs it; `make test` goes on without.
if find_spec("playwright") is None:
    collect_ignore_glob = ["test_*.py"]

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# The browser's own services would ask servers that are not there.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
]
WIDE = {"width": 1280, "height": 860}
NARROW = {"width": 400, "height": 800}
# Of a machine that does other things too.
PATIENCE_MS = 20_000
MODEL = "smollm2-135m"


def engine_settings(count: int) -> str:
    """Return small real language models, each on one thread, and the engine that quotes."""
    models = [
        {"kind": "llamacpp", "model": MODEL, "name": f"llama-{number}", "max_concurrency": 2, "threads": 1}
        for number in range(1, count + 1)
    ]
    return json.dumps([*models, {"kind": "extractive"}])


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """Two real language models, the one that quotes and the embedder; two schedulers, of which one leads."""
    settings = {"SAGE_LLM_COORDINATOR_ENGINES": engine_settings(2), "SAGE_LLM_COORDINATOR_SERVERS_PORTS": "0-0"}
    directory = tmp_path_factory.mktemp("studio")
    with isolated_mesh(directory, replicas={"scheduler": 2}, settings=settings, studio=True) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has a context of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages as a visitor of their own. None of them may report an error to the console."""
    opened: list[Any] = []
    problems: list[str] = []

    def opening(url: str, *, dark: bool = False, narrow: bool = False) -> Page:
        context = browser.new_context(
            viewport=NARROW if narrow else WIDE, color_scheme="dark" if dark else "light", device_scale_factor=1
        )
        context.set_default_timeout(PATIENCE_MS)
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.goto(url)
        return page

    yield opening
    for context in opened:
        context.close()
    assert problems == []


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    """Take a picture of a page, for the documentation where SAGE_STUDIO_SHOTS names its folder."""
    folder = Path(os.environ.get("SAGE_STUDIO_SHOTS", "") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def shooting(page: Page, name: str) -> None:
        bottom = page.evaluate("Math.min(innerHeight, Math.ceil(document.querySelector('.content').offsetHeight) + 52)")
        clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": bottom}  # type: ignore[index]
        page.screenshot(path=folder / f"{name}.png", animations="disabled", clip=clip)

    return shooting

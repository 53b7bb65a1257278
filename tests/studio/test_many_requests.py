"""Ten thousand requests in view, and more coming."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest
from fixtures.process_mesh import LIGHT
from fixtures.studio_mesh import OpenPage
from playwright.sync_api import expect

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh

pytestmark = pytest.mark.studio
MANY = 10_000
CONNECTIONS = 48
BODY = {"model": "static", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
# The longest time that the page did not draw, while its rows changed.
LONGEST_GAP_MS = 700
# Notes the longest gap between two frames.
WATCH = """() => {
  window.longest = 0; let last = performance.now();
  const look = (now) => {
    window.longest = Math.max(window.longest, now - last); last = now; requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """A light mesh whose engine answers at once."""
    directory = tmp_path_factory.mktemp("busy")
    with static_engine() as engine, isolated_mesh(directory, llm=engine, replicas=LIGHT, studio=True) as mesh:
        yield mesh


def ask(mesh: IsolatedMesh, count: int) -> None:
    # The browser's driver has an event loop of its own in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(asked(mesh, count))).result()


async def asked(mesh: IsolatedMesh, count: int) -> None:
    left = iter(range(count))

    async def one_after_another(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(f"{mesh.gateway_url}/v1/chat/completions", json=BODY) as response:
                assert response.status == 200
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(one_after_another(session) for _ in range(CONNECTIONS)))


def test_ten_thousand_requests_are_shown_and_more_come_without_a_stall(busy: IsolatedMesh, open_page: OpenPage) -> None:
    ask(busy, MANY)
    page = open_page(f"{busy.studio_url}/requests")
    expect(page.get_by_text("10,000 requests")).to_be_visible()
    expect(page.locator(".ag-center-cols-container .ag-row").first).to_be_visible()
    page.wait_for_function("document.querySelector('.ag-center-cols-container').clientHeight > 400000")
    page.evaluate(WATCH)
    newest = page.locator(".ag-center-cols-container .ag-row[row-index='0']")
    before = newest.get_attribute("row-id")
    for _ in range(3):
        ask(busy, 200)
        expect(newest).not_to_have_attribute("row-id", str(before))
        before = newest.get_attribute("row-id")
    assert page.evaluate("window.longest") < LONGEST_GAP_MS
    page.get_by_label("Search").fill("nobody")
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(0)


def test_a_gateway_that_hangs_is_told_and_the_page_goes_on_with_the_next(
    busy: IsolatedMesh, open_page: OpenPage
) -> None:
    page = open_page(busy.studio_url)
    expect(page.get_by_role("status").filter(has_text="1 engine ready")).to_be_visible()
    gateway = busy.process("gateway")
    gateway.suspend()
    expect(page.get_by_role("alert").filter(has_text="has not answered")).to_be_visible(timeout=60_000)
    gateway.kill()
    busy.wait_ready("gateway", not_pid=gateway.pid)
    # Its port is another one: the mesh takes free ones.
    expect(page.get_by_role("status").filter(has_text="1 engine ready")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("alert").filter(has_text="has not answered")).to_have_count(0)

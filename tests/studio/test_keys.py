"""A studio of its own for a mesh that asks for keys: who gets in, what they see, and how they leave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from fixtures.process_mesh import static_mesh
from fixtures.studio_mesh import OpenPage, Shoot, chat
from playwright.sync_api import expect

from sage_benchmark.isolated_mesh import IsolatedMesh

pytestmark = pytest.mark.studio
KEYS = {"k-ops": {"tenant": "ops", "operator": True}, "k-ann": {"tenant": "ann"}, "k-bob": {"tenant": "bob"}}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """A light mesh that asks for keys."""
    settings = {"SAGE_ACCESS_API_KEYS": json.dumps(KEYS)}
    with static_mesh(tmp_path_factory.mktemp("locked"), settings=settings) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def studio(locked: IsolatedMesh) -> Iterator[str]:
    """``sage studio --target``, as for a mesh elsewhere."""
    command = [sys.executable, "-m", "sage_cli", "studio", "--target", locked.gateway_url, "--port", "0"]
    with subprocess.Popen(command, env=locked.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        yield str(first["address"]).rstrip("/")
        process.terminate()
        assert process.wait(10) in (0, -signal.SIGTERM)


def test_a_key_opens_what_is_its_tenants_and_is_forgotten_on_leaving(
    locked: IsolatedMesh, studio: str, open_page: OpenPage
) -> None:
    for name in ("ann", "bob"):
        chat(locked, "hi", Authorization=f"Bearer k-{name}")
    page = open_page(f"{studio}/requests")
    expect(page.get_by_text("asks for an API key")).to_be_visible()
    page.get_by_label("API key").fill("k-ann")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Requests")).to_be_visible()
    rows = page.locator(".ag-center-cols-container .ag-row")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("ann")
    [cookie] = [one for one in page.context.cookies() if one["name"].startswith("sage-studio-session")]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert "k-ann" not in json.dumps(page.context.cookies()) + page.content()
    other = page.context.new_page()
    other.goto(studio)
    expect(other.get_by_role("heading", name="Mesh")).to_be_visible()
    page.get_by_title("Forget my key").click()
    expect(page.get_by_text("asks for an API key")).to_be_visible()
    # The other tab shows nothing any more either.
    expect(other.get_by_text("asks for an API key")).to_be_visible()


def test_an_operators_key_shows_everybodys_requests(studio: str, open_page: OpenPage) -> None:
    page = open_page(f"{studio}/requests")
    page.get_by_label("API key").fill("k-ops")
    page.get_by_role("button", name="Open").click()
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(2)


def test_a_wrong_key_is_refused_in_the_words_of_the_api(studio: str) -> None:
    request = urllib.request.Request(f"{studio}/key", b"key=k-nobody&to=%2F", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == 401
        assert "API key" in refused.value.read().decode()
        assert refused.value.headers["set-cookie"] is None


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Host": "evil.example"}),
        ("/key", {"Origin": "http://evil.example"}),
        ("/_nicegui_ws/socket.io/?EIO=4&transport=polling", {"Origin": "http://evil.example"}),
    ],
)
def test_pages_of_others_get_nothing(studio: str, path: str, headers: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{studio}{path}", headers=headers), timeout=10)
    with refused.value:
        assert refused.value.code == 403


def test_an_operator_sees_usage_sets_limits_and_makes_and_revokes_a_key(
    locked: IsolatedMesh, studio: str, open_page: OpenPage, shoot: Shoot
) -> None:
    chat(locked, "hi", Authorization="Bearer k-ann")
    page = open_page(f"{studio}/tenants")
    page.get_by_label("API key").fill("k-ops")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Set limits").click()
    page.get_by_label("Tenant").fill("team-a")
    page.get_by_label("Requests a minute").fill("600")
    page.get_by_role("button", name="Store").click()
    expect(page.locator(".line", has_text="team-a")).to_contain_text("600 requests/min")
    page.get_by_role("button", name="Make a key").click()
    page.get_by_label("Tenant").fill("team-a")
    page.get_by_label("Label").fill("laptop")
    page.get_by_role("button", name="Make it").click()
    secret = page.locator(".secret").inner_text()
    assert secret.startswith("sage-")
    page.get_by_role("button", name="I have it").click()
    line = page.locator(".line", has_text="laptop")
    expect(line).to_contain_text("valid")
    # ECharts draws to a canvas; that there is one says that usage came, which lags a little.
    expect(page.locator(".chart canvas").first).to_be_visible(timeout=20_000)
    shoot(page, "studio-tenants")
    line.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(line).to_contain_text("revoked")
    assert secret not in page.content()


def test_a_tenant_is_told_that_limits_are_for_operators(studio: str, open_page: OpenPage) -> None:
    page = open_page(f"{studio}/tenants")
    page.get_by_label("API key").fill("k-ann")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="operator")).to_be_visible()

"""The frame, the mesh, its requests and the playground, in a real browser over a real mesh."""

from __future__ import annotations

import os
import re
import signal

import pytest
from fixtures.studio_mesh import OpenPage, Shoot, chat, chats
from playwright.sync_api import expect

from sage_benchmark.isolated_mesh import IsolatedMesh

pytestmark = pytest.mark.studio
# An hour is played in a process of its own, which goes behind the mesh on a busy machine.
PLAYED_MS = 60_000
PAGES = (
    *("", "requests", "playground", "engines", "tenants", "knowledge", "pipelines", "apps", "apps/assistant"),
    *("apps/triage", "apps/monitor"),
    "what-if",
)


def test_the_first_paint_takes_less_than_a_second_and_every_page_is_one_key_away(
    mesh: IsolatedMesh, open_page: OpenPage
) -> None:
    page = open_page(mesh.studio_url)
    expect(page.get_by_role("heading", name="Mesh")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Mesh")).to_be_visible()
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < 1000
    names = ("Requests", "Playground", "Engines", "Tenants", "Knowledge", "Pipelines", "Applications", "What if")
    for name in (*names, "Mesh"):
        page.get_by_role("navigation").get_by_role("link", name=name).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=name)).to_be_visible()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_in_the_dark(mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot, path: str) -> None:
    page = open_page(f"{mesh.studio_url}/{path}", dark=True, narrow=True)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("body.body--dark")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    shoot(page, f"narrow-{path.replace('/', '-') or 'mesh'}")


def test_the_colours_that_were_chosen_stay(mesh: IsolatedMesh, open_page: OpenPage) -> None:
    page = open_page(mesh.studio_url)
    expect(page.locator("body.body--light")).to_be_attached()
    page.get_by_role("button", name="Colours: auto").click()
    expect(page.locator("body.body--dark")).to_be_attached()
    page.get_by_role("link", name="Requests").click()
    expect(page.locator("body.body--dark")).to_be_attached()


def test_requests_appear_as_they_come_and_can_be_searched_and_filtered(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(f"{mesh.studio_url}/requests")
    chat(mesh, "Name a colour.", request_id="colour-1", X_Sage_Tenant="painters")
    chats(mesh, 6, X_Request_Type="bulk", X_Sage_Tenant="crowd")
    row = page.locator(".ag-center-cols-container .ag-row", has_text="painters")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("finished")
    shoot(page, "studio-requests")
    page.get_by_label("Search").fill("crowd")
    expect(row).to_have_count(0)
    expect(page.locator(".ag-center-cols-container .ag-row", has_text="crowd")).to_have_count(6)
    page.get_by_label("Search").fill("")
    page.get_by_role("button", name="failed").click()
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(0)


def test_a_request_is_a_timeline_with_the_candidates_and_two_are_compared(
    mesh: IsolatedMesh, open_page: OpenPage
) -> None:
    for name in ("one", "two"):
        chat(mesh, f"Say {name}.", request_id=f"timeline-{name}", X_Sage_Tenant="clocks")
    page = open_page(f"{mesh.studio_url}/requests")
    page.get_by_label("Search").fill("clocks")
    rows = page.locator(".ag-center-cols-container .ag-row", has_text="clocks")
    expect(rows).to_have_count(2)
    rows.first.locator("[col-id=model]").click()
    timeline = page.get_by_role("list", name="Timeline")
    expect(timeline.get_by_role("listitem").filter(has_text="queued")).to_be_visible()
    expect(timeline.get_by_role("listitem").filter(has_text=re.compile("answer from llama-[12]"))).to_be_visible()
    expect(page.locator(".candidate")).to_have_count(2)
    expect(page.locator(".candidate.chosen")).to_have_count(1)
    page.go_back()
    page.get_by_label("Search").fill("clocks")
    for row in (0, 1):
        page.locator(".ag-selection-checkbox input").nth(row).click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("list", name="Timeline")).to_have_count(2)


def test_a_request_that_nobody_remembers_says_so_in_the_words_of_the_api(
    mesh: IsolatedMesh, open_page: OpenPage
) -> None:
    page = open_page(f"{mesh.studio_url}/requests/nobody")
    expect(page.get_by_role("alert").filter(has_text="no scheduler remembers a request 'nobody'")).to_be_visible()


def test_an_answer_streams_and_leads_to_its_timeline(mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot) -> None:
    page = open_page(f"{mesh.studio_url}/playground")
    page.get_by_label("Max tokens").fill("40")
    page.get_by_label("Message").fill("What is a language model?")
    page.keyboard.press("Enter")
    expect(page.locator(".said.user")).to_have_text("What is a language model?")
    expect(page.get_by_text(re.compile(r"TTFT [\d,]+ ms · TPOT [\d.]+ ms · \d+ tokens"))).to_be_visible()
    expect(page.locator(".said.assistant")).not_to_be_empty()
    page.get_by_text("The request as code").click()
    expect(page.get_by_role("tabpanel").filter(visible=True).first).to_contain_text("What is a language model?")
    page.get_by_role("tab", name="openai").click()
    expect(page.get_by_text("from openai import OpenAI")).to_be_visible()
    code = page.get_by_role("tabpanel").filter(has_text="from openai").first
    expect(code).to_contain_text(f'base_url="{mesh.gateway_url}/v1"')
    page.get_by_text("The request as code").click()
    shoot(page, "studio-playground")
    page.get_by_role("link", name="timeline").click()
    expect(page.get_by_role("list", name="Timeline").get_by_text("tokens", exact=True)).to_be_visible()
    shoot(page, "studio-timeline")


def test_two_models_answer_beside_each_other(mesh: IsolatedMesh, open_page: OpenPage) -> None:
    page = open_page(f"{mesh.studio_url}/playground")
    page.get_by_role("switch", name="Two models").click()
    page.get_by_label("Max tokens").fill("8")
    page.get_by_label("Message").fill("Hello")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("link", name="timeline")).to_have_count(2)


def test_a_refusal_is_told_in_the_words_of_the_api(mesh: IsolatedMesh, open_page: OpenPage) -> None:
    page = open_page(f"{mesh.studio_url}/playground")
    page.get_by_label("Temperature").fill("700")
    page.get_by_label("Message").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="temperature")).to_be_visible()
    # And the next question is asked all the same.
    page.get_by_label("Temperature").fill("1")
    page.get_by_label("Max tokens").fill("4")
    page.get_by_label("Message").fill("Hello")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="timeline")).to_be_visible()


def test_the_ring_shows_rates_and_who_takes_over_when_the_leader_dies(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(mesh.studio_url)
    engines = page.locator(".engines .node")
    expect(engines.filter(has_text="llama-1")).to_be_visible()
    expect(engines.filter(has_text="minilm")).to_be_visible()
    scheduler = page.locator(".ring > .node", has_text="scheduler")
    expect(scheduler).to_contain_text(re.compile(r"scheduler-\S+ leads"))
    leader = re.search(r"(scheduler-\S+) leads", scheduler.inner_text())
    assert leader
    chats(mesh, 4)
    expect(page.locator(".hop.back.busy")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+% of \d+")).first).to_be_visible()
    pid = int(leader[1].split("-")[1])
    status = next(s for s in mesh.processes("scheduler") if s.identity and s.identity.pid == pid)
    assert status.identity is not None
    os.kill(status.identity.pid, signal.SIGKILL)
    events = page.get_by_role("log")
    # For a moment nobody leads, which may be seen or not.
    expect(events.get_by_text(re.compile("leads pool main")).first).to_be_visible(timeout=20_000)
    expect(scheduler).not_to_contain_text(leader[1])
    mesh.wait_ready(status.name, not_pid=status.identity.pid)
    expect(events.get_by_text("has joined").first).to_be_visible()
    chats(mesh, 3)
    expect(page.locator(".hop.back")).to_contain_text(re.compile(r"0\.[3-9] answers/s"))
    shoot(page, "studio-mesh")


def test_an_engine_is_drained_and_given_work_again_and_its_log_is_read(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(f"{mesh.studio_url}/engines")
    card = page.locator(".engine", has_text="llama-2")
    card.get_by_role("button", name="Drain").click()
    expect(card.get_by_text("draining")).to_be_visible()
    card.get_by_role("button", name="Allow work").click()
    expect(card.get_by_text("ready", exact=True)).to_be_visible()
    card.get_by_role("button", name="Logs").click()
    expect(page.locator(".log")).to_contain_text(re.compile(r"\w+"))
    page.get_by_role("button", name="Close", exact=True).last.click()
    shoot(page, "studio-engines")


def test_an_engine_is_not_removed_by_one_click_nor_started_without_a_model(
    mesh: IsolatedMesh, open_page: OpenPage
) -> None:
    page = open_page(f"{mesh.studio_url}/engines")
    card = page.locator(".engine", has_text="llama-1")
    card.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Leave it").click()
    expect(card.get_by_text("ready", exact=True)).to_be_visible()
    page.get_by_role("button", name="Start an engine").click()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="model").first).to_be_visible()


def test_the_policy_is_changed_while_the_mesh_runs(mesh: IsolatedMesh, open_page: OpenPage) -> None:
    page = open_page(f"{mesh.studio_url}/engines")
    policy = page.get_by_role("combobox", name="Policy of main")
    expect(policy).to_be_visible()
    for name in ("fifo", "hybrid"):
        policy.click()
        page.get_by_role("option", name=name, exact=True).click()
        expect(page.get_by_role("alert").filter(has_text=f"main is scheduled by {name}")).to_be_visible()
    # It stays, also once the page has heard of it.
    page.goto(mesh.studio_url)
    expect(page.locator(".ring > .node", has_text="scheduler")).to_contain_text("leads, hybrid")


def test_settings_of_the_policy_are_changed_while_the_mesh_runs(mesh: IsolatedMesh, open_page: OpenPage) -> None:
    page = open_page(f"{mesh.studio_url}/engines")
    settings = page.get_by_role("button", name="Settings of the policy of main")
    settings.click()
    margin = page.get_by_role("spinbutton", name="margin")
    expect(margin).to_have_value("0.05")
    margin.fill("7")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("alert").filter(has_text="hybrid.margin: Input should be less than 1")).to_be_visible()
    margin.fill("0.2")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("alert").filter(has_text="with these settings")).to_be_visible()
    settings.click()
    expect(margin).to_have_value("0.2")
    expect(page.get_by_text("Configured: 0.05.")).to_be_visible()
    page.get_by_role("button", name="As configured").click()
    page.get_by_role("button", name="Change").click()
    expect(margin).to_be_hidden()


def test_a_collection_is_made_given_a_document_searched_and_asked(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(f"{mesh.studio_url}/knowledge")
    page.get_by_label("Name").fill("handbook")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="handbook")).to_be_visible()
    leave = b"# Leave\n\nEverybody has thirty days of leave a year. Ask your manager two weeks before.\n"
    pay = b"# Pay\n\nSalaries are paid on the last working day of each month by bank transfer.\n"
    page.locator("input[type=file]").set_input_files(
        [
            {"name": "leave.md", "mimeType": "text/markdown", "buffer": leave},
            {"name": "pay.md", "mimeType": "text/markdown", "buffer": pay},
        ]
    )
    expect(page.locator(".line", has_text="leave.md")).to_be_visible()
    expect(page.locator(".line", has_text="pay.md")).to_be_visible()
    page.get_by_label("Question").fill("How many days of leave are there?")
    page.get_by_role("button", name="Search").click()
    first = page.locator(".passage").first
    expect(first).to_contain_text("leave.md")
    expect(first).to_contain_text(re.compile(r"meaning 0\.\d+, no\. 1"))
    expect(first).to_contain_text(re.compile(r"words [\d.e-]+, no. 1"))
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer")).not_to_have_text(re.compile("^…?$"))
    expect(page.locator(".passage")).to_have_count(2)
    shoot(page, "studio-knowledge")
    page.get_by_role("link", name="Knowledge").click()
    page.get_by_role("button", name="Drop handbook").click()
    page.get_by_role("button", name="Drop", exact=True).click()
    expect(page.get_by_role("button", name="Drop handbook")).to_be_hidden()


def test_a_pipeline_is_checked_as_it_is_written_and_runs_as_a_job(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(f"{mesh.studio_url}/pipelines")
    page.get_by_role("button", name="Write a pipeline").click()
    verdict = page.get_by_role("status").filter(has_text=re.compile("valid|error"))
    expect(verdict).to_have_text("valid")
    expect(page.locator(".dag svg")).to_contain_text("summary")
    page.get_by_role("combobox", name="Operator").click()
    page.get_by_role("option", name="filter", exact=True).click()
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Add to the text").click()
    # A filter says what it keeps.
    expect(verdict).to_have_text(re.compile(r"\d errors?"))
    expect(page.locator(".fault", has_text="filter")).not_to_have_count(0)
    expect(page.get_by_role("button", name="Submit as a job")).to_be_disabled()
    shoot(page, "studio-editor")
    page.locator(".cm-content").click()
    for _ in range(12):
        page.keyboard.press("Control+z")
    expect(verdict).to_have_text("valid")
    page.get_by_role("button", name="Try a sample").click()
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=60_000)
    expect(page.get_by_text("at notes, 2 records")).to_be_visible()
    expect(page.get_by_text("at summary, 2 records")).to_be_visible()
    shoot(page, "studio-sample")
    page.go_back()
    page.get_by_role("button", name="Submit as a job").click()
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=60_000)
    expect(page.locator(".records")).to_contain_text("answer")
    expect(page.locator(".barline", has_text="notes")).to_contain_text("2")
    shoot(page, "studio-job")
    page.get_by_role("link", name="Pipelines").click()
    expect(page.get_by_role("link", name="summaries").first).to_be_visible()


def test_a_job_that_nobody_knows_says_so_in_the_words_of_the_api(mesh: IsolatedMesh, open_page: OpenPage) -> None:
    page = open_page(f"{mesh.studio_url}/jobs/nobody")
    expect(page.get_by_role("alert").filter(has_text="nobody")).to_be_visible()


def test_the_last_hour_is_played_again_with_more_engines(mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot) -> None:
    chats(mesh, 6)
    page = open_page(f"{mesh.studio_url}/what-if")
    expect(page.get_by_role("spinbutton", name="Engines")).to_have_value(re.compile(r"[1-3]"))
    page.get_by_role("spinbutton", name="Engines").fill("8")
    page.get_by_role("button", name="Play").click()
    table = page.locator(".verdicts")
    expect(table).to_contain_text("as it happened", timeout=PLAYED_MS)
    expect(table).to_contain_text("simulated as it was")
    expect(table).to_contain_text(re.compile(r"interactive: targets kept\s*\d+\.\d%\s*\d+\.\d%\s*\d+\.\d%"))
    shoot(page, "studio-what-if")
    # Another policy beside it, on the same arrivals.
    page.get_by_role("combobox", name="Beside it").click()
    page.get_by_role("option", name="fifo", exact=True).click()
    expect(page.get_by_role("combobox", name="Beside it")).to_have_value("fifo")
    page.get_by_role("button", name="Play").click()
    heads = re.compile(r"simulated as it was\s*what if hybrid\s*what if fifo")
    expect(table).to_contain_text(heads, timeout=PLAYED_MS)
    expect(table).to_contain_text(re.compile(r"interactive: targets kept(\s*\d+\.\d%){4}"))


def test_texts_are_compared_and_documents_ordered(mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot) -> None:
    page = open_page(f"{mesh.studio_url}/playground")
    page.get_by_role("tab", name="Embeddings").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text(re.compile(r"384 dimensions · \d+ tokens"))).to_be_visible()
    expect(page.locator(".similarity canvas").first).to_be_visible()
    shoot(page, "studio-embeddings")
    page.get_by_role("tab", name="Rerank").click()
    page.get_by_role("button", name="Order").click()
    expect(page.locator(".barline")).to_have_count(3)
    expect(page.locator(".barline").first).to_contain_text(re.compile("leave", re.IGNORECASE))

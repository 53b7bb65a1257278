"""The pages of the applications on streams: a job is started from each, and what it finds is seen as it comes."""

from __future__ import annotations

import re

import pytest
from fixtures.studio_mesh import OpenPage, Shoot
from playwright.sync_api import expect

from sage_benchmark.isolated_mesh import IsolatedMesh

pytestmark = pytest.mark.studio
# Of a job whose labels a small model writes on a slow machine.
JOB_MS = 90_000


def test_tickets_are_sorted_by_a_job_and_the_incident_is_marked(
    mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page(f"{mesh.studio_url}/apps/triage")
    page.get_by_role("button", name="Sort a morning's tickets").click()
    page.wait_for_url(re.compile(r"job=job-"))
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=JOB_MS)
    incident = page.get_by_role("log", name="Incidents").locator(".fault")
    expect(incident).to_have_count(1)
    expect(incident).to_contain_text("login: up to")
    expect(page.get_by_role("list", name="Tickets").get_by_role("listitem")).to_have_count(30)
    expect(page.locator("canvas")).to_be_visible()
    shoot(page, "studio-triage")
    # Whoever comes later sees the same.
    page.reload()
    expect(incident).to_have_count(1)
    page.get_by_role("link", name=re.compile("^job-")).click()
    expect(page.get_by_role("heading", name="Job")).to_be_visible()


def test_articles_are_watched_by_a_job_and_topics_form(mesh: IsolatedMesh, open_page: OpenPage, shoot: Shoot) -> None:
    page = open_page(f"{mesh.studio_url}/apps/monitor")
    page.get_by_role("button", name="Watch a day's articles").click()
    page.wait_for_url(re.compile(r"job=job-"))
    duplicates = page.get_by_role("list", name="Duplicates").get_by_role("listitem")
    expect(duplicates.filter(has_text="Shares slide after interest rate rise")).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_role("list", name="Topics").get_by_role("listitem").first).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=JOB_MS)
    shoot(page, "studio-monitor")


@pytest.mark.parametrize("path", ["apps/triage", "apps/monitor"])
def test_a_job_that_is_not_there_is_said_in_the_words_of_the_api(
    mesh: IsolatedMesh, open_page: OpenPage, path: str
) -> None:
    page = open_page(f"{mesh.studio_url}/{path}?job=job-nowhere", dark=True, narrow=True)
    expect(page.get_by_role("alert").filter(has_text="job-nowhere")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
